"""The routes of a Hub on loopback: the part of the protocol that publishing and reading take."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import parse_qs

from tests.clmeeval_data.hub.loopback.connection import Connection, RefusalError
from tests.clmeeval_data.hub.loopback.repositories import (
    DATE,
    OWNERS,
    ROLES,
    Commit,
    Repo,
    git_oid,
    is_large,
    sha256,
)

PART = 8_000  # bytes of one part of an upload in several parts


class Handler(Connection):
    """What each route answers; a Space is kept under its name after ``spaces/``."""

    # who may do what

    def role(self):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in ROLES:
            raise RefusalError(401, "Invalid credentials in Authorization header")
        return ROLES.get(token, "")

    def repo(self, name, writing=False) -> Repo:
        role, repo = self.role(), self.hub.repos.get(name)
        if repo is None or (repo.private and role != "write"):
            raise RefusalError(404 if role else 401, "Repository not found", "RepoNotFound")
        if writing:
            self.may_write(role, name)
        return repo

    def may_write(self, role, name):
        if not role:
            raise RefusalError(401, "Invalid username or password.")
        owner = name.removeprefix("spaces/").partition("/")[0]
        if role != "write" or owner not in OWNERS:
            raise RefusalError(403, f"You don't have the rights to write under the namespace {owner}")

    def commit_of(self, name, rev) -> Commit:
        found = self.repo(name).at(rev or "main")
        if found is None:
            raise RefusalError(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return found

    # repositories

    def create(self, body):
        asked = json.loads(body)
        short, kind = f"{asked['organization']}/{asked['name']}", asked["type"]
        name = short if kind == "dataset" else f"spaces/{short}"
        self.may_write(self.role(), name)
        if kind == "space" and asked.get("sdk") != "static":
            raise RefusalError(400, "this Hub has Spaces of static pages only")
        shown = {"url": self.page(name), "id": short, "name": short}
        if name in self.hub.repos:
            return self.reply(409, {"error": f"You already created this {kind} repo", **shown})
        self.hub.create(name, private=asked.get("visibility") == "private")
        return self.reply(200, shown)

    def page(self, name):
        return f"{self.hub.url}/{name if name.startswith('spaces/') else f'datasets/{name}'}"

    def programs(self, _body):
        self.reply(200, {})  # by what its client tells programs from people

    def validate(self, body):
        has_yaml = json.loads(body)["content"].startswith("---\n")
        self.reply(200 if has_yaml else 400, {"errors": [] if has_yaml else [{"message": "no YAML"}], "warnings": []})

    def info(self, _body, name, rev=""):
        commit = self.commit_of(name, rev)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        plain = {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [], "lastModified": DATE}
        short = name.removeprefix("spaces/")
        shown = {"_id": "1", "id": short, "author": short.partition("/")[0], "sha": commit.oid, "siblings": siblings}
        self.reply(200, {**plain, **shown, "private": self.repo(name).private})

    def refs(self, _body, name):
        repo = self.repo(name)
        branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.oid}
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in repo.tags.items()]
        self.reply(200, {"branches": [branch], "tags": tags, "converts": []})

    def tag(self, body, name, rev):
        repo, tag = self.repo(name, writing=True), json.loads(body)["tag"]
        commit = self.commit_of(name, rev)
        if tag in repo.tags:
            raise RefusalError(409, f"Tag reference exists already: {tag}")
        repo.tags[tag] = commit.oid
        self.reply(200, {})

    # files

    def entry(self, commit, path):
        body = commit.files[path]
        shown = {"type": "file", "path": path, "size": len(body), "oid": git_oid(body)}
        if is_large(path):
            shown["oid"] = git_oid(b"pointer " + sha256(body).encode())
            shown["lfs"] = {"oid": sha256(body), "size": len(body), "pointerSize": 134}
        return {**shown, "lastCommit": {"id": commit.oid, "title": commit.title, "date": DATE}}

    def folder(self, path):
        return {"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())}

    def tree(self, _body, name, rev, path=""):
        commit, prefix = self.commit_of(name, rev), f"{path}/" if path else ""
        below = [file for file in sorted(commit.files) if file.startswith(prefix)]
        if path and not below:
            raise RefusalError(404, f"{path} does not exist on {rev}", "EntryNotFound")
        folders = {str(parent) for file in below for parent in Path(file).parents} - {"."}
        deep = self.query.get("recursive", "").lower() in ("1", "true")
        inside = [item for item in (*sorted(folders), *below) if item.startswith(prefix) and item != path]
        shown = [item for item in inside if deep or "/" not in item.removeprefix(prefix)]
        self.reply(200, [self.entry(commit, item) if item in below else self.folder(item) for item in shown])

    def paths_info(self, body, name, rev):
        commit, found = self.commit_of(name, rev), []
        for path in parse_qs(body.decode()).get("paths", []):
            if path in commit.files:
                found.append(self.entry(commit, path))
            elif any(file.startswith(f"{path}/") for file in commit.files):
                found.append(self.folder(path))
        self.reply(200, found)

    def resolve(self, _body, name, rev, path):
        commit = self.commit_of(name, rev)
        if path not in commit.files:
            raise RefusalError(404, f"{path} does not exist on {rev}", "EntryNotFound")
        body = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{git_oid(body)}"', "Accept-Ranges": "bytes"}
        if is_large(path):
            self.hub.blobs[sha256(body)] = body
            linked = {"X-Linked-Size": str(len(body)), "X-Linked-ETag": f'"{sha256(body)}"'}
            if sha256(body) in self.hub.xet_hashes:
                token = f'<{self.hub.url}/api/datasets/{name}/xet-read-token/{rev}>; rel="xet-auth"'
                linked |= {"X-Xet-Hash": self.hub.xet_hashes[sha256(body)], "Link": token}
            return self.reply(302, b"", {**headers, **linked, "Location": f"{self.hub.storage}/blob/{sha256(body)}"})
        return self.ranged(body, headers)

    def blob(self, _body, oid):
        self.note_leak()
        self.ranged(self.hub.blobs[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def ranged(self, body, headers):
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not found:
            return self.reply(200, body, headers)
        start, end = int(found[1]), min(int(found[2] or len(body) - 1), len(body) - 1)
        if start >= len(body):
            return self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        wanted = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
        return self.reply(206, body[start : end + 1], {**headers, **wanted})

    # uploads

    def preupload(self, body, name, rev):
        held = self.repo(name, writing=True) and self.commit_of(name, rev).files
        answers = []
        for item in json.loads(body)["files"]:
            path = item["path"]
            hashed = sha256 if is_large(path) else git_oid
            oid = hashed(held[path]) if path in held else None
            mode = "lfs" if is_large(path) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply(200, {"files": answers})

    def batch(self, body, name):
        self.repo(name, writing=True)
        objects = []
        for item in json.loads(body)["objects"]:
            oid, size = item["oid"], item["size"]
            shown = {"oid": oid, "size": size}
            if oid not in self.hub.blobs:
                upload = {"href": f"{self.hub.storage}/lfs/{oid}"}
                if self.hub.in_parts:
                    count = -(-size // PART)
                    urls = {f"{part:05}": f"{self.hub.storage}/lfs/{oid}/{part}" for part in range(1, count + 1)}
                    upload = {"href": f"{self.hub.url}/complete/{oid}", "header": {"chunk_size": str(PART), **urls}}
                shown["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append(shown)
        self.reply(200, {"transfer": "multipart" if self.hub.in_parts else "basic", "objects": objects})

    def xet_token(self, _body, name, rev):
        self.commit_of(name, rev)
        given = {"casUrl": f"local://{self.hub.xet}", "accessToken": "none", "exp": 4_102_444_800}
        names = ("X-Xet-Cas-Url", "X-Xet-Access-Token", "X-Xet-Token-Expiration")
        self.reply(200, given, dict(zip(names, map(str, given.values()), strict=True)))

    def put(self, body, oid, part=""):
        self.note_leak()
        if part:
            self.hub.parts.setdefault(oid, {})[int(part)] = body
            return self.reply(200, b"", {"ETag": f'"{part}"'})
        return self.store(oid, body)

    def complete(self, body, oid):
        numbers = [part["partNumber"] for part in json.loads(body)["parts"]]
        return self.store(oid, b"".join(self.hub.parts[oid][number] for number in numbers))

    def store(self, oid, body):
        if sha256(body) != oid:
            raise RefusalError(400, "the content is not what was announced")
        self.hub.blobs[oid] = body
        return self.reply(200, {})

    def verify(self, body):
        asked = json.loads(body)
        self.reply(200 if len(self.hub.blobs.get(asked["oid"], b"")) == asked["size"] else 404, {})

    def commit(self, body, name, rev):
        repo, lines = self.repo(name, writing=True), [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit", repo.head.oid) != repo.head.oid:
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.head.files)
        for item in lines[1:]:
            value = item["value"]
            match item["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.hub.blobs:
                        raise RefusalError(400, "LFS pointer pointed to a file that does not exist")
                    files[value["path"]] = self.hub.blobs[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        made = repo.commit(header["summary"], files)
        url = f"{self.page(name)}/commit/{made.oid}"
        self.reply(200, {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

    def note_leak(self):
        if self.headers.get("Authorization"):
            self.hub.leaks.append(f"{self.command} {self.path}")


KIND = r"(?P<kind>datasets|spaces)"
NAME, REV = r"(?P<name>[^/]+/[^/]+)", r"(?P<rev>[^/]+)"
ROUTES = [
    ("POST", "/api/repos/create", "create"),
    ("POST", "/api/validate-yaml", "validate"),
    ("GET", "/api/agent-harnesses", "programs"),
    ("GET", rf"/api/{KIND}/{NAME}", "info"),
    ("GET", rf"/api/{KIND}/{NAME}/revision/{REV}", "info"),
    ("GET", rf"/api/{KIND}/{NAME}/refs", "refs"),
    ("GET", rf"/api/{KIND}/{NAME}/tree/{REV}(?:/(?P<path>.+))?", "tree"),
    ("POST", rf"/api/{KIND}/{NAME}/paths-info/{REV}", "paths_info"),
    ("POST", rf"/api/{KIND}/{NAME}/preupload/{REV}", "preupload"),
    ("GET", rf"/api/{KIND}/{NAME}/xet-(?:read|write)-token/{REV}", "xet_token"),
    ("POST", rf"/api/{KIND}/{NAME}/commit/{REV}", "commit"),
    ("POST", rf"/api/{KIND}/{NAME}/tag/{REV}", "tag"),
    ("POST", rf"/{KIND}/{NAME}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?", "put"),
    ("POST", r"/complete/(?P<oid>[0-9a-f]{64})", "complete"),
    ("POST", "/verify", "verify"),
    (("GET", "HEAD"), rf"/{KIND}/{NAME}/resolve/{REV}/(?P<path>.+)", "resolve"),
    (("GET", "HEAD"), r"/blob/(?P<oid>[0-9a-f]{64})", "blob"),
]

Handler.routes = ROUTES

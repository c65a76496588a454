"""Where publishing on a Hub on loopback may fail, how, and what the one line says."""

from typing import NamedTuple

AS_IT_WAS = {"datasets": "Nothing was changed on the Hub", "spaces": "Nothing was changed in the Space"}
WHOLE = "It holds its old release or the whole new one, nothing between"
BATCH, PUT, VERIFY, YAML = "POST .*/lfs/objects/batch", "PUT /lfs", "POST /verify", "POST /api/validate-yaml"
LIMIT = r"the limit of requests is reached\. Wait some minutes, then run the same command again \(429"
DENIED = r"this token may not do that\. Use one with write access .* \(403"
INVALID = r"the token is not valid there\. Log in with 'hf auth login'.* \(401"
FAILED, BROKEN = r"the Hub failed \(500: as the test ordered\)", r"the connection failed \("


class Points(NamedTuple):
    """What is asked of a Hub about one repository, as patterns."""

    info: str
    refs: str
    tree: str
    file: str
    preupload: str
    commit: str
    tag: str


def points_of(kind: str, name: str, file: str) -> Points:
    """The requests about a repository of a kind ("datasets" or "spaces"), of which some file is read."""
    api = f"/api/{kind}/{name}"
    return Points(
        info=f"GET {api}$",
        refs=f"GET {api}/refs",
        tree=f"GET {api}/tree",
        file=f"(HEAD|GET) /{kind}/{name}/resolve/.*/{file}",
        preupload=f"POST {api}/preupload",
        commit=f"POST {api}/commit/",
        tag=f"POST {api}/tag/",
    )


def faults_of(kind: str, name: str, file: str, tag: str) -> list[tuple[str, dict, str]]:
    """Where it fails, how, and what the line says after the name; the client tries some requests six times.

    A Space has no large files.
    """
    at, as_it_was = points_of(kind, name, file), AS_IT_WAS[kind]
    unread, unpublished, untagged = "cannot be read on the Hub", "cannot be published", f"cannot be tagged {tag}"
    reading = [
        (at.info, {"status": 500}, rf"{unread}: {FAILED}\. {as_it_was}: run the same command again later\."),
        (at.info, {"status": 429}, rf"{unread}: {LIMIT}.*\)\. {as_it_was}\."),
        (at.info, {"cut": "reply"}, rf"{unread}: {BROKEN}.*\)\. {as_it_was}: run the same command again\."),
        (at.info, {"cut": "half"}, rf"{unread}: {BROKEN}"),
        (at.refs, {"status": 500}, rf"{unread}: {FAILED}"),
        (at.tree, {"status": 500, "times": 9}, rf"{unread}: {FAILED}"),
        (at.file, {"status": 500, "times": 99}, rf"{unread} \({file}\): .*{as_it_was}"),
        (at.file, {"cut": "reply", "times": 99}, rf"{unread} \({file}\): .*{as_it_was}"),
    ]
    large = [
        (BATCH, {"status": 500, "times": 9}, rf"{unpublished}: {FAILED}"),
        (BATCH, {"status": 403}, rf"{unpublished}: {DENIED}"),
        (PUT, {"status": 500, "times": 99}, rf"{unpublished}: {FAILED}"),
        (PUT, {"status": 403}, rf"{unpublished}: {DENIED}"),
        (
            PUT,
            {"cut": "request", "times": 99},
            rf"{unpublished}: {BROKEN}.*\)\. {WHOLE}: run the same command again\.",
        ),
        (VERIFY, {"status": 404}, rf"{unpublished}: the Hub refuses it \(404: as the test ordered\)"),
    ]
    writing = [
        (YAML, {"status": 500}, rf"{unpublished}: {FAILED}"),
        (YAML, {"cut": "reply"}, rf"{unpublished}: {BROKEN}"),
        (at.preupload, {"status": 401}, rf"{unpublished}: {INVALID}.*\)\. {as_it_was}\."),
        (at.preupload, {"status": 403}, rf"{unpublished}: {DENIED}.*\)\. {as_it_was}\."),
        (at.preupload, {"status": 429, "times": 9}, rf"{unpublished}: {LIMIT}"),
        (at.preupload, {"cut": "request", "times": 9}, rf"{unpublished}: {BROKEN}"),
        *(large if kind == "datasets" else ()),
        (at.commit, {"status": 401}, rf"{unpublished}: {INVALID}"),
        (at.commit, {"status": 403}, rf"{unpublished}: {DENIED}"),
        (at.commit, {"status": 412}, rf"{unpublished}: somebody else has changed it meanwhile\. .*--dry-run"),
        (at.commit, {"status": 429}, rf"{unpublished}: {LIMIT}"),
        (at.commit, {"status": 500}, rf"{unpublished}: {FAILED}\. {WHOLE}: run the same command again later\."),
        (at.commit, {"cut": "request"}, rf"{unpublished}: {BROKEN}"),
        (at.commit, {"cut": "reply"}, rf"{unpublished}: {BROKEN}.*\)\. {WHOLE}: run the same command again\."),
        (at.tag, {"status": 500}, rf"{untagged}: {FAILED}\. Its files are published: run the same command"),
        (at.tag, {"status": 403}, rf"{untagged}: {DENIED}.*\)\. Its files are published\."),
        (at.tag, {"cut": "reply"}, rf"{untagged}: {BROKEN}.*\)\. Its files are published: run the same"),
    ]
    return [*reading, *writing]


def has_landed(where: str, fault: dict) -> bool:
    """Whether the commit was made although the command failed."""
    return "/tag/" in where or ("/commit/" in where and fault.get("cut") == "reply")

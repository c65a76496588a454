"""What publishing would change: the files of a release compared with those of a repository."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clmeeval_data.hub.remote import StoredFile

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete


@dataclass(frozen=True)
class ReleaseFile:
    """One file of a release: its place in the repository, and its content or the file that holds it.

    ``size`` is in bytes; ``git_oid`` is the id that git gives to such a content.
    """

    path: str
    content: bytes | Path
    size: int
    sha256: str
    git_oid: str

    def is_stored_as(self, stored: StoredFile) -> bool:
        """Whether a repository's file has the same content."""
        if stored.sha256 is not None:
            return stored.sha256 == self.sha256
        return stored.git_oid == self.git_oid


@dataclass(frozen=True)
class Change:
    """What happens to one file of a repository; the size in bytes is that of the new file, or of a deleted one."""

    kind: Literal["add", "change", "keep", "delete"]
    path: str
    size: int


@dataclass(frozen=True)
class Plan:
    """All that publishing would change in a repository.

    Attributes:
        repo: The repository, as messages call it.
        parent: The commit that the release is compared with; None where there is none.
        creates: Whether the repository is to be made: "" where it is there, else "public" or "private".
        files: The files of the release.
        changes: What happens to them, and to the files that the release replaces.
        tag: The tag that is to be made, or None.
        note: What else there is to say about the commit.
    """

    repo: str
    parent: str | None
    creates: Literal["", "public", "private"]
    files: Sequence[ReleaseFile]
    changes: Sequence[Change]
    tag: str | None
    note: str = ""

    @property
    def card(self) -> str:
        """The text of the repository's front page."""
        found = next((file.content for file in self.files if file.path == "README.md"), b"")
        return found.decode() if isinstance(found, bytes) else found.read_text(encoding="utf-8")

    @property
    def is_empty(self) -> bool:
        """Whether the repository holds all of the release already."""
        return all(change.kind == "keep" for change in self.changes)

    def operations(self) -> "list[CommitOperationAdd | CommitOperationDelete]":
        """The changes, as the Hub's client takes them."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        kinds = {change.path: change.kind for change in self.changes}
        added = [
            CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=file.content)
            for file in self.files
            if kinds[file.path] != "keep"
        ]
        deleted = [CommitOperationDelete(path_in_repo=path) for path, kind in kinds.items() if kind == "delete"]
        return [*added, *deleted]

    def lines(self) -> list[str]:
        """The plan in words: the repository, each file with its size and what happens to it, and the tag."""
        where = f"new, {self.creates}" if self.creates else f"at {(self.parent or 'no commit')[:12]}"
        width = max(len(change.path) for change in self.changes)
        listed = [f"{change.kind:<6}  {change.path:<{width}}  {change.size:>13,} bytes" for change in self.changes]
        total = sum(change.size for change in self.changes if change.kind in ("add", "change"))
        last = [f"tag     {self.tag}"] if self.tag else []
        return [f"{self.repo} ({where}): {total:,} bytes to upload{self.note}", *listed, *last]


def release_file(path: str, content: bytes | Path) -> ReleaseFile:
    """A file of a release, with the hashes by which the Hub knows it.

    Raises:
        OSError: If it cannot be read.
    """
    if isinstance(content, bytes):
        return _hashed(path, content, len(content), [content])
    with content.open("rb") as file:
        return _hashed(path, content, content.stat().st_size, iter(lambda: file.read(1 << 20), b""))


def compare(files: Sequence[ReleaseFile], stored: Mapping[str, StoredFile], stale: Sequence[str]) -> list[Change]:
    """What happens to each file, by path: those of the release, and those in ``stale``, which are deleted."""
    changes = []
    for file in files:
        there = stored.get(file.path)
        if there is None:
            changes.append(Change("add", file.path, file.size))
        else:
            changes.append(Change("keep" if file.is_stored_as(there) else "change", file.path, file.size))
    changes += [Change("delete", path, stored[path].size) for path in stale]
    return sorted(changes, key=lambda change: change.path)


def _hashed(path: str, content: bytes | Path, size: int, blocks: Iterable[bytes]) -> ReleaseFile:
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for block in blocks:
        sha256.update(block)
        git.update(block)
    return ReleaseFile(path, content, size, sha256.hexdigest(), git.hexdigest())

"""Where a corpus is: on the Hub, at a URL, or on this machine. One option covers all of them."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from clmeeval_data.builders.sources.download import public
from clmeeval_data.errors import ConfigError, SourceError

_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[^@\s]+))?")
_HUB_PAGE = re.compile(
    r"https?://(?:www\.)?huggingface\.co/datasets/(?P<name>[\w.-]+/[\w.-]+?)(?:/tree/(?P<revision>[^/?#]+))?/?"
)
_FILE_NAME = re.compile(r"\.(jsonl?|parquet|zip|gz)$", re.IGNORECASE)
_CHECKSUM = re.compile(r"sha256=([0-9a-fA-F]{64})")
_SHARD = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<total>\d{5})\.")
_HIDDEN = re.compile(r"(^|/)\.")


@dataclass(frozen=True)
class Location:
    """A Hub id, a URL, a file or a folder.

    Args:
        kind: Which of them it is; a file and a folder are both a path.
        place: The Hub id without its revision, the URL without its checksum, or the path.
        revision: Of the Hub id: a branch, tag or commit; None for the main branch.
        sha256: Of the URL, where it ends in ``#sha256=``.
    """

    kind: Literal["hub", "url", "path"]
    place: str
    revision: str | None = None
    sha256: str | None = None

    @property
    def shown(self) -> str:
        """How to write it elsewhere: a path by its last part, a URL without a password."""
        if self.kind == "path":
            return Path(os.path.abspath(self.place)).name  # noqa: PTH100 - a place such as "." has a name then
        if self.kind == "hub":
            return self.place if self.revision is None else f"{self.place}@{self.revision}"
        return public(self.place) + ("" if self.sha256 is None else f"#sha256={self.sha256}")

    @classmethod
    def parse(cls, text: str) -> "Location":
        """The location that a user wrote; a path that exists comes before a Hub id of the same name.

        Raises:
            ConfigError: If a URL names no server, or its checksum is not ``#sha256=`` and 64 hexadecimal digits.
            SourceError: If there is no such file or folder, and it can't be a Hub id.
        """
        if page := _HUB_PAGE.fullmatch(text):
            return cls("hub", page["name"], page["revision"])
        if re.match(r"https?://", text):
            return _parse_url(text)
        path = os.path.expanduser(text)  # noqa: PTH111 - unlike Path.expanduser, it bears any text
        if os.path.exists(path):  # noqa: PTH110 - the same
            return cls("path", path)
        found = _HUB_ID.fullmatch(text)
        if found and not _FILE_NAME.search(found["name"]):
            return cls("hub", found["name"], found["revision"])
        raise SourceError(
            f"no file or folder {text}. Expected a path, a URL, or a Hub id (owner/name or owner/name@revision): "
            "check the path."
        )


@dataclass(frozen=True)
class LocalFile:
    """A file of a corpus on this machine.

    Args:
        path: Where it is.
        address: What others may call it: its URL, or its name in its folder.
        revision: The commit that it belongs to, "" where it has none.
        sha256: What its bytes must have; None where nobody has said.
    """

    path: Path
    address: str
    revision: str = ""
    sha256: str | None = None


def chosen(names: Iterable[str], wanted: re.Pattern[str], where: str) -> list[str]:
    """Those of the names in a folder or a repository that a source reads, in order.

    Raises:
        SourceError: If there is none, or one of a set of shards (``x-00000-of-00002``) is missing.
    """
    found = sorted(name for name in names if wanted.search(name) and not _HIDDEN.search(name))
    if not found:
        raise SourceError(
            f"{where} has no file that this source reads. Expected a name that matches {wanted.pattern!r}: "
            "check the location, or give the path of one file."
        )
    shards = [(shard["stem"], int(shard["total"])) for name in found if (shard := _SHARD.search(name))]
    for stem, total in dict.fromkeys(shards):
        if (count := shards.count((stem, total))) != total:
            raise SourceError(f"{where} has {count} of the {total} files {stem}-*. Get the missing ones.")
    return found


def cache_folder() -> Path:
    """Where downloads are kept on this system: below XDG_CACHE_HOME where it is set."""
    home = os.environ.get("XDG_CACHE_HOME")
    if home:
        return Path(home) / "clmeeval"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "clmeeval"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "clmeeval" / "Cache"
    return Path.home() / ".cache" / "clmeeval"


def _parse_url(text: str) -> Location:
    url, sign, fragment = text.partition("#")
    checksum = _CHECKSUM.fullmatch(fragment)
    if sign and not checksum:
        raise ConfigError(
            f"{public(text)} ends in {fragment!r}. Expected #sha256= and 64 hexadecimal digits after the address, or "
            "nothing."
        )
    if not urlsplit(url).hostname:
        raise ConfigError(f"{text} names no server. Expected an address such as https://example.org/corpus.jsonl.gz.")
    return Location("url", url, sha256=checksum[1].lower() if checksum else None)

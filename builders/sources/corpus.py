"""A corpus that is kept in files: what the sources that read one have in common."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from clmeeval_data.builders.sources import DEFAULT_OPTIONS, Reading, Row, SourceFile, SourceOptions
from clmeeval_data.builders.sources.download import download, hash_of, public
from clmeeval_data.builders.sources.formats import Columns, read_rows
from clmeeval_data.builders.sources.hub_files import hub_files
from clmeeval_data.builders.sources.location import LocalFile, Location, cache_folder, chosen
from clmeeval_data.errors import ConfigError, SourceError


class FileSource(ABC):
    """A source whose corpus is one file or several. A subclass says which, and makes the pairs.

    Args:
        location: Where the corpus is; None for the source's own address.
        benchmark: Which benchmark to make pairs for; by default the first that the source can make.
        options: How to read it.

    Raises:
        ConfigError: If the location can't be understood.
        SourceError: If the location is a path where nothing is.
    """

    name: str
    benchmarks: tuple[str, ...]
    licence: str
    summary: str
    default: str | None
    file_licence: ClassVar[str] = ""
    wanted: ClassVar[re.Pattern[str]]
    fields: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        location: str | Path | None = None,
        benchmark: str | None = None,
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.benchmark = benchmark or self.benchmarks[0]
        self.options = options
        self._location = None if location is None else Location.parse(str(location))

    def rows(self) -> Iterator[Row]:
        """The rows of all files, in the order of the files' names.

        Raises:
            SourceError: If a file is missing or damaged as a whole, or there is no row at all.
        """
        self.files()  # nothing is read that is not what was promised
        empty = True
        for file in self._files:
            for row in self.rows_of(file):
                empty = False
                yield row
        if empty:
            names = ", ".join(file.address for file in self._files)
            raise SourceError(f"source {self.name!r} has no row in {names}. Check that it is the right file.")

    @property
    def spec(self) -> str:
        """The name, and the location where it isn't the source's own."""
        return self.name if self._location is None else f"{self.name}={self._location.shown}"

    @property
    def columns(self) -> Columns:
        """What to call the columns of the files, and their names there."""
        return {name: (name,) for name in self.fields}

    def rows_of(self, file: LocalFile) -> Iterator[Mapping[str, Any]]:
        """The rows of one file."""
        return read_rows(file.path, self.columns, self.wanted)

    @abstractmethod
    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pairs that a row holds, or why it holds none."""

    def files(self) -> tuple[SourceFile, ...]:
        """The files with their hashes, which are compared with what was promised for them.

        Raises:
            SourceError: If a file is missing, or is not the one that was promised.
        """
        return self._described_files

    @cached_property
    def _described_files(self) -> tuple[SourceFile, ...]:
        return tuple(self._described(file) for file in self._files)

    @cached_property
    def _files(self) -> tuple[LocalFile, ...]:
        location = self._location
        if location is None:
            if not self.default:
                raise ConfigError(f"source {self.name!r} has no address of its own. Give it a location.")
            location = Location.parse(self.default)
        return locate(location, self.wanted, self.options.cache, self.options.offline)

    def _described(self, file: LocalFile) -> SourceFile:
        found = hash_of(file.path)
        if file.sha256 is not None and found != file.sha256:
            raise SourceError(
                f"{file.path} has sha256 {found}, expected {file.sha256} for {file.address}. "
                "Delete it and run again, or correct the checksum."
            )
        return SourceFile(file.address, file.revision, file.path.stat().st_size, found, self.file_licence)


def locate(location: Location, wanted: re.Pattern[str], cache: Path | None, offline: bool) -> tuple[LocalFile, ...]:
    """The files of a corpus, in the order of their names, downloaded where they have to be.

    Args:
        location: Where it is.
        wanted: Matches the names that are read in a folder or a repository. A single file may have any name.
        cache: Where downloads are kept; None for the user's cache folder and, for the Hub, that of huggingface_hub.
        offline: Download nothing.

    Raises:
        SourceError: If a file is missing or can't be downloaded.
    """
    if location.kind == "hub":
        return hub_files(location, wanted, None if cache is None else cache / "hub", offline)
    if location.kind == "url":
        return (_from_url(location, cache or cache_folder(), offline),)
    path = Path(location.place)
    if not path.is_dir():
        return (LocalFile(path, path.name),)
    names = [each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()]
    return tuple(LocalFile(path / name, name) for name in chosen(names, wanted, str(path)))


def _from_url(location: Location, cache: Path, offline: bool) -> LocalFile:
    address = public(location.place)
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(unquote(urlsplit(address).path)).name).strip(".") or "file"
    folder = hashlib.sha256(address.encode()).hexdigest()[:16]
    path = cache / "downloads" / folder / name[-100:]
    if offline and not path.exists():
        raise SourceError(
            f"{address} is not on this machine, and nothing is downloaded offline. Run the command online once, or "
            "give the path of a copy."
        )
    download(location.place, path, location.sha256)
    return LocalFile(path, address, sha256=location.sha256)

"""The documented functions of the standard library of the Python that runs this."""

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from clmeeval_data import syntax
from clmeeval_data.builders.sources import (
    DEFAULT_OPTIONS,
    Pair,
    Reading,
    Row,
    Skipped,
    SourceFile,
    SourceOptions,
)
from clmeeval_data.builders.sources.docstring import first_sentence
from clmeeval_data.builders.sources.functions import undocumented
from clmeeval_data.errors import SourceError
from clmeeval_data.records import Provenance

# Folders of installed packages, tests, programs and generated text rather than library code.
_SKIPPED = frozenset(
    [
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "turtledemo",
        "ensurepip",
        "pydoc_data",
        "__phello__",
        "__pycache__",
    ]
)


class StdlibSource:
    """The functions and methods with a docstring, in the order of the files; works without a network.

    Nested functions are left out: they are part of the code of another one. Nothing is imported or run.

    Args:
        location: The folder to read instead of the running Python's.
        benchmark: "csne", the only one that it can make.
        options: None of them concerns it.
    """

    name = "stdlib"
    benchmarks = ("csne",)
    licence = "PSF-2.0"
    summary = "documented functions of the running Python's standard library, mined from its files"
    default = ""

    def __init__(
        self,
        location: str | Path | None = None,
        benchmark: str | None = None,
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.benchmark = benchmark or self.benchmarks[0]
        self.options = options
        self._root = Path(location or sysconfig.get_path("stdlib"))
        self.spec = self.name if location is None else f"{self.name}={self._root.resolve().name}"

    def rows(self) -> Iterator[Row]:
        """One row per file: its place below the library's folder, and its text.

        Raises:
            SourceError: If there is no standard library in source form.
        """
        for place in self._places:
            yield {"place": place, "text": _text(self._root / place)}

    def pairs(self, row: Row) -> Iterator[Reading]:
        """One pair per documented function: its code without docstrings, and the docstring's first sentence.

        The group is the module.
        """
        place = row["place"]
        module = place.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for function in syntax.functions(row["text"]):
            if not function.docstring or "<locals>" in function.name:
                continue
            origin = f"{_tree()}/{place}#L{function.line}"
            description = first_sentence(function.docstring, function.name)
            if description:
                provenance = Provenance(source=self.name, origin=origin, group=module, licence=self.licence)
                yield Pair(undocumented(function.code), description, function.name, None, provenance)
            else:
                yield Skipped("no sentence in the docstring", origin)

    def files(self) -> tuple[SourceFile, ...]:
        """The library as one: the size of its files together, and the sha256 of their names and texts.

        Raises:
            SourceError: If there is no standard library in source form.
        """
        digest, size = hashlib.sha256(), 0
        for place in self._places:
            content = (self._root / place).read_bytes()
            digest.update(f"{place}\0{len(content)}\0".encode() + content)
            size += len(content)
        return (SourceFile(_tree(), platform.python_version(), size, digest.hexdigest(), self.licence),)

    @cached_property
    def _places(self) -> tuple[str, ...]:
        places = tuple(sorted(self._found()))
        if not places:
            raise SourceError(
                f"no Python files in {self._root}. Expected the standard library in source form: use a Python that has "
                "it unpacked."
            )
        return places

    def _found(self) -> Iterator[str]:
        for folder, below, names in os.walk(self._root):
            below[:] = [name for name in below if name not in _SKIPPED]
            place = Path(folder).relative_to(self._root)
            yield from ((place / name).as_posix() for name in names if name.endswith(".py"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _tree() -> str:
    version = platform.python_version().rstrip("+")  # "+": built from a revision after the tag
    return f"https://github.com/python/cpython/blob/v{version}/Lib"

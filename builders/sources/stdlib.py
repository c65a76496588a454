"""The documented functions of the standard library of the Python that runs this."""

import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from clmeeval_data import syntax
from clmeeval_data.builders.sources import Pair
from clmeeval_data.builders.sources.docstring import first_sentence
from clmeeval_data.errors import SourceError
from clmeeval_data.records import Provenance

# Installed packages, tests, programs and generated text rather than library code.
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
        root: The folder to read instead of the running Python's.
    """

    name = "stdlib"
    benchmark = "csne"
    licence = "PSF-2.0"
    summary = "documented functions of the running Python's standard library, mined from its files"

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or Path(sysconfig.get_path("stdlib"))

    def read(self) -> Iterator[Pair]:
        """One pair per documented function: its code without docstrings, and the docstring's first sentence.

        The group is the module.

        Raises:
            SourceError: If there is no standard library in source form.
        """
        found = False
        for path in sorted(self._root.rglob("*.py"), key=lambda path: path.relative_to(self._root).as_posix()):
            place = path.relative_to(self._root)
            if not _SKIPPED & set(place.parts):
                found = True
                yield from self._mine(path.read_text(encoding="utf-8", errors="replace"), place)
        if not found:
            raise SourceError(
                f"no Python files in {self._root}. Expected the standard library in source form: use a Python that has "
                "it unpacked."
            )

    def _mine(self, source: str, place: Path) -> Iterator[Pair]:
        module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        for function in syntax.functions(source):
            if function.docstring and "<locals>" not in function.name:
                provenance = Provenance(
                    source=self.name,
                    origin=f"{_tree()}/{place.as_posix()}#L{function.line}",
                    group=module,
                    licence=self.licence,
                )
                description = first_sentence(function.docstring)
                yield Pair(syntax.strip_docstrings(function.code), description, function.name, None, provenance)


def _tree() -> str:
    version = platform.python_version().rstrip("+")  # "+": built from a revision after the tag
    return f"https://github.com/python/cpython/blob/v{version}/Lib"

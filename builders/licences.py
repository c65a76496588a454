"""Which licences a build keeps."""

from collections.abc import Mapping
from dataclasses import dataclass

from clmeeval_data.builders.sources import Pair
from clmeeval_data.errors import UnknownNameError


@dataclass(frozen=True)
class Licences:
    """A set of licences by name; a pair under any other is dropped.

    Args:
        name: What the set is called, in the manifest and in the reasons of dropped rows.
        allowed: SPDX identifiers.
    """

    name: str
    allowed: frozenset[str]

    def refusal(self, pair: Pair) -> str | None:
        """Why the pair is dropped, or None."""
        licence = pair.provenance.licence
        return None if licence in self.allowed else f"{licence} is not {self.name}"


# Free to use, change and pass on under any terms, as long as authors are named. Nothing under copyleft or share-alike
# (GPL, LGPL, MPL, EPL, CC BY-SA), and nothing unknown.
PERMISSIVE = Licences(
    "permissive",
    frozenset(
        {
            "0BSD",
            "AFL-3.0",
            "Apache-2.0",
            "BSD-1-Clause",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "BSD-3-Clause-Clear",
            "BSL-1.0",
            "CC-BY-3.0",
            "CC-BY-4.0",
            "CC0-1.0",
            "HPND",
            "ISC",
            "MIT",
            "MIT-0",
            "MIT-CMU",
            "NCSA",
            "PostgreSQL",
            "PSF-2.0",
            "Python-2.0",
            "Unlicense",
            "UPL-1.0",
            "WTFPL",
            "X11",
            "Zlib",
            "ZPL-2.1",
        }
    ),
)
LICENCES: Mapping[str, Licences] = {PERMISSIVE.name: PERMISSIVE}


def licences_named(name: str) -> Licences | None:
    """The set of that name; None for "all", which keeps every row.

    Raises:
        UnknownNameError: If there is none.
    """
    if name == "all":
        return None
    if name not in LICENCES:
        raise UnknownNameError(f"unknown licences {name!r}. Known: all, {', '.join(sorted(LICENCES))}.")
    return LICENCES[name]

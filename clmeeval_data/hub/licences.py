"""LICENCES.md: under which licences the cases of a dataset come."""

import re
from collections import Counter
from collections.abc import Mapping

from clmeeval_data.card import Rows

LICENCES = "LICENCES.md"
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


def licences_of(rows: Rows) -> Counter[tuple[str, str]]:
    """The number of cases of each (licence, source), over all splits."""
    provenances = (row["provenance"] for split in rows.values() for row in split)
    return Counter((provenance["licence"], provenance["source"]) for provenance in provenances)


def licence_list(cases: Mapping[tuple[str, str], int]) -> str:
    """LICENCES.md: how many cases of which source come under which licence, with a link to its text.

    Args:
        cases: The number of cases of each (licence, source).
    """
    lines = [
        "# Licences",
        "",
        "Each case has its licence in `provenance.licence`, and where it comes from in `provenance.origin`.",
        "",
        "| licence | source | cases |",
        "|---|---|---:|",
    ]
    for (licence, source), count in sorted(cases.items()):
        lines.append(f"| {_linked(licence)} | {_cell(source)} | {count} |")
    return "\n".join(lines) + "\n"


def _linked(licence: str) -> str:
    if not _SPDX.fullmatch(licence) or licence.startswith(("LicenseRef", "NOASSERTION")):
        return _cell(licence)
    return f"[{licence}](https://spdx.org/licenses/{licence}.html)"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

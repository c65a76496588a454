"""CodeSearchNet, Python: functions of public repositories with their docstrings.

Source: Husain et al., "CodeSearchNet Challenge", 2019 (arXiv 1909.09436). The functions are under the licences of their
repositories, which a file can name. The subset that CoSQA published (Huang et al., ACL 2021, arXiv 2105.13239), which
names no repositories, is under the Computational Use of Data Agreement.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from clmeeval_data.builders.sources import (
    DEFAULT_OPTIONS,
    UNKNOWN_LICENCE,
    Pair,
    Reading,
    Row,
    Skipped,
    SourceOptions,
    Unreadable,
)
from clmeeval_data.builders.sources.corpus import FileSource
from clmeeval_data.builders.sources.docstring import first_sentence
from clmeeval_data.builders.sources.fields import text_or_none, unusable
from clmeeval_data.builders.sources.formats import Columns, excerpt
from clmeeval_data.builders.sources.functions import function_name, undocumented
from clmeeval_data.errors import SourceError
from clmeeval_data.records import Provenance

COSQA_LICENCE = "LicenseRef-C-UDA"

# What a guess stands for. Several families have no SPDX identifier without a version, and the guess has none.
_SPDX = {
    "MIT": "MIT",
    "Apache-2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",  # the stricter of the usual two
    "ISC": "ISC",
    "MPL-2.0": "MPL-2.0",
    "EPL": "LicenseRef-EPL",
    "GPL": "LicenseRef-GPL",
    "LGPL": "LicenseRef-LGPL",
    "AGPL": "LicenseRef-AGPL",
}
_VERSIONED = re.compile(r"[A-Za-z][\w-]*-\d[\w.+-]*")


class CodeSearchNet(FileSource):
    """The functions, each with the first sentence of its docstring; the code holds no docstring.

    Reads the parquet files of the Hub, the original archive and its jsonl.gz files, and the CoSQA subset. The group is
    the repository, or the function's name in the CoSQA subset.
    """

    name = "codesearchnet"
    benchmarks = ("csne",)
    licence = "per repository"
    summary = "documented Python functions of public repositories, 457,461 of them in the whole corpus"
    default = "code-search-net/code_search_net"
    wanted = re.compile(
        r"(^|/)python_(train|valid|test)_\d+\.jsonl(\.gz)?$|(^|/)codesearchnet_python[^/]*\.(jsonl|parquet)(\.gz)?$|"
        r"(^|/)python/([^/]+/)?[^/]*\.parquet$"
    )

    def __init__(
        self,
        location: str | Path | None = None,
        benchmark: str | None = None,
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__(location, benchmark, options)
        path = options.repository_licences
        self._licences = {} if path is None else repository_licences(path)

    @cached_property
    def columns(self) -> Columns:
        """The names in the original files, and those on the Hub."""
        return {
            "repo": ("repo", "repository_name"),
            "path": ("path", "func_path_in_repository"),
            "func_name": ("func_name",),
            "code": ("code", "whole_func_string", "func_code_string", "original_string"),
            "docstring": ("docstring", "func_documentation_string"),
            "url": ("url", "func_code_url"),
            "idx": ("idx",),
        }

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a row; its origin is the address of the function."""
        flaw = unusable(row, ("code",), optional=("repo", "path", "func_name", "docstring", "url"))
        if flaw is not None:
            yield flaw
            return
        name = text_or_none(row, "func_name") or function_name(row["code"])
        if not name:
            yield Unreadable("no function in field 'code'", excerpt(row["code"]))
            return
        sentence = first_sentence(row.get("docstring") or "", name)
        if not sentence:
            yield Skipped("no sentence in the docstring", excerpt(f"{name}: {row.get('docstring')}"))
        else:
            yield Pair(undocumented(row["code"]), sentence, name, None, self._provenance(row, name))

    def _provenance(self, row: Row, name: str) -> Provenance:
        repo = text_or_none(row, "repo")
        if repo is None:
            word = re.sub(r"[\W_]+", "", name.rpartition(".")[2]).casefold() or name
            if "idx" not in row:
                return Provenance(self.name, "", f"{self.name}-{word}", UNKNOWN_LICENCE)
            return Provenance(self.name, f"cosqa#{row['idx']}", f"cosqa-{word}", COSQA_LICENCE)
        origin = text_or_none(row, "url") or "/".join(filter(None, (repo, text_or_none(row, "path"))))
        return Provenance(self.name, origin, repo, self._licences.get(repo.casefold(), UNKNOWN_LICENCE))


def repository_licences(path: Path) -> Mapping[str, str]:
    """The licences of repositories by name in lower case: SPDX identifiers, or LicenseRef- and the family.

    Args:
        path: A JSON list of objects with ``repo`` and ``license_guess``, which is null where nobody knows.

    Raises:
        SourceError: If the file can't be read or has another form.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        guesses = {str(row["repo"]).casefold(): row.get("license_guess") for row in rows}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(
            f"{path} can't be read as a list of licences ({error}). Expected a JSON list of objects with 'repo' and "
            "'license_guess'."
        ) from error
    return {repo: _spdx(guess) for repo, guess in guesses.items()}


def _spdx(guess: object) -> str:
    if not isinstance(guess, str):
        return UNKNOWN_LICENCE
    return _SPDX.get(guess) or (guess if _VERSIONED.fullmatch(guess) else UNKNOWN_LICENCE)

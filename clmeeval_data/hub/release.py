"""What a release of a dataset folder consists of: parquet, manifest, card and a list of licences."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.errors import DatasetError, PublishError
from clmeeval_data.hub.front_page import front_page
from clmeeval_data.hub.loading import DEFAULT
from clmeeval_data.hub.plan import ReleaseFile, release_file
from clmeeval_data.records import SPLITS, Benchmark
from clmeeval_data.validate import check_dataset

CARD = "README.md"
LICENCES = "LICENCES.md"
OPTIONAL = ("croissant.json",)
_CONFIG = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_RESERVED = ("data", "main")
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


@dataclass(frozen=True)
class Dataset:
    """A dataset folder without a problem, and the configuration as which it is published."""

    folder: Path
    config: str
    benchmark: Benchmark[Any]

    @property
    def prefix(self) -> str:
        """What its paths in a repository begin with."""
        return prefix_of(self.config)

    def files(self, repo: str, cards: Mapping[str, str]) -> list[ReleaseFile]:
        """The files of its release, the repository's front page among them.

        Args:
            repo: ``owner/name``.
            cards: README.md of each of the repository's other configurations.

        Raises:
            PublishError: If one of these is not a card of ours, or a file cannot be read.
        """
        try:
            card = _addressed((self.folder / CARD).read_text(encoding="utf-8"), repo, self.benchmark)
            contents: dict[str, bytes | Path] = {
                f"{self.prefix}data/{path.name}": path
                for path in (storage.parquet_path(self.folder, split) for split in SPLITS)
            }
            for name in (storage.MANIFEST, *OPTIONAL):
                if name not in OPTIONAL or (self.folder / name).is_file():
                    contents[f"{self.prefix}{name}"] = (self.folder / name).read_bytes()
            contents[f"{self.prefix}{LICENCES}"] = self._licences().encode()
            contents[f"{self.prefix}{CARD}"] = card.encode()
            contents[CARD] = front_page(repo, {**cards, self.config: card}).encode()
            return [release_file(path, content) for path, content in sorted(contents.items())]
        except (OSError, UnicodeDecodeError) as error:
            raise PublishError(
                f"{self.folder} cannot be read ({error}). Check the folder, or build it again."
            ) from error

    def replaces(self, path: str) -> bool:
        """Whether a file of a repository belongs to an earlier release of the same configuration."""
        return path.startswith(f"{self.prefix}data/") or path in {f"{self.prefix}{name}" for name in OPTIONAL}

    def _licences(self) -> str:
        cases: Counter[tuple[str, str]] = Counter()
        for split in SPLITS:
            for row in storage.read_parquet(storage.parquet_path(self.folder, split), self.benchmark):
                cases[row["provenance"]["licence"], row["provenance"]["source"]] += 1
        return licence_list(cases)


def open_release(folder: Path, config: str | None) -> Dataset:
    """A dataset folder that may be published, after a whole check of it.

    Raises:
        PublishError: If it has a problem, or the configuration's name cannot be one.
    """
    name = config or DEFAULT
    if not _CONFIG.fullmatch(name) or name in _RESERVED:
        raise PublishError(
            f"{name!r} cannot be the name of a configuration. Expected lower-case letters, digits, '-', '_' and '.', "
            "e.g. --config sample."
        )
    if not folder.is_dir():
        raise PublishError(f"no dataset folder {folder}. Build one with 'clmeeval-build cnle --out {folder}'.")
    problems = check_dataset(folder)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise PublishError(
            f"{folder} is not fit to be published: {str(problems[0]).rstrip('.')}{more}. "
            f"See 'clmeeval-build validate {folder}'."
        )
    try:
        return Dataset(folder, name, storage.benchmark_of(folder))
    except DatasetError as error:
        raise PublishError(str(error)) from error


def prefix_of(config: str) -> str:
    """What the paths of a configuration in a repository begin with."""
    return "" if config == DEFAULT else f"{config}/"


def configs_among(paths: Iterable[str]) -> list[str]:
    """The configurations that a repository holds, told by their manifests."""
    found = set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if name == storage.MANIFEST and "/" not in folder:
            found.add(folder or DEFAULT)
    return sorted(found)


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


def _addressed(card: str, repo: str, benchmark: Benchmark[Any]) -> str:
    """A card whose examples load the dataset from the repository it is in."""
    usual = f"clmeeval/{benchmark.name}"
    return card.replace(f'"{usual}"', f'"{repo}"').replace(f"`{usual}`", f"`{repo}`")

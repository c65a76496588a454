"""A folder that a build wrote, as a configuration of a dataset on the Hub."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.answers import check_answers, is_answers
from clmeeval_data.card import Rows
from clmeeval_data.croissant import CROISSANT, Release, croissant_text, release_of
from clmeeval_data.errors import DatasetError, PublishError
from clmeeval_data.hub.front_page import front_page
from clmeeval_data.hub.holdings import check_benchmark, other_cards, prefix_of
from clmeeval_data.hub.licences import LICENCES, licence_list, licences_of
from clmeeval_data.hub.loading import DEFAULT
from clmeeval_data.hub.plan import release_file
from clmeeval_data.hub.publishing import CARD, Contents
from clmeeval_data.hub.remote import Remote, State
from clmeeval_data.records import SPLITS, Benchmark
from clmeeval_data.schema import SCHEMA_VERSION
from clmeeval_data.validate import check_dataset

_CONFIG = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_RESERVED = ("data", "main")
_SEMVER = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)(\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?)?")


@dataclass(frozen=True)
class Configuration:
    """A folder without a problem, and the configuration as which it is published.

    ``splits``: those that it has. ``has_cases``: whether its rows are cases of the benchmark, not a model's answers.
    """

    folder: Path
    config: str
    benchmark: Benchmark[Any]
    splits: Sequence[str]
    has_cases: bool

    @property
    def title(self) -> str:
        """What its commit is called."""
        name = "" if self.config == DEFAULT else f", {self.config}"
        return f"{self.benchmark.name.upper()}, schema {SCHEMA_VERSION}{name}"

    def contents(self, remote: Remote, held: State, tag: str | None) -> Contents:
        """The files of the configuration, and the front page of the repository.

        Raises:
            PublishError: If the repository holds something else, the card of another configuration is not one of ours,
                or a file cannot be read.
        """
        check_benchmark(self.benchmark, str(self.folder), remote, held)
        cards = other_cards(self.config, remote, held)
        prefix = prefix_of(self.config)
        try:
            card = addressed((self.folder / CARD).read_text(encoding="utf-8"), remote.name, self.benchmark)
            found: dict[str, bytes | Path] = {
                f"{prefix}data/{path.name}": path
                for path in (storage.parquet_path(self.folder, split) for split in self.splits)
            }
            found[f"{prefix}{storage.MANIFEST}"] = (self.folder / storage.MANIFEST).read_bytes()
            if self.has_cases:
                found |= {f"{prefix}{name}": text for name, text in self._about_cases(remote, held, tag).items()}
            found[f"{prefix}{CARD}"] = card.encode()
            found[CARD] = front_page(remote.name, {**cards, self.config: card}).encode()
            files = [release_file(path, content) for path, content in sorted(found.items())]
        except (OSError, UnicodeDecodeError) as error:
            raise PublishError(
                f"{self.folder} cannot be read ({error}). Check the folder, or build it again."
            ) from error
        return Contents(files, (f"{prefix}data/", f"{prefix}{CROISSANT}"))

    def _about_cases(self, remote: Remote, held: State, tag: str | None) -> dict[str, bytes]:
        """The list of licences, and the description for other tools where the folder has one."""
        rows = {
            split: storage.read_parquet(storage.parquet_path(self.folder, split), self.benchmark) for split in SPLITS
        }
        found = {LICENCES: licence_list(licences_of(rows)).encode()}
        if (self.folder / CROISSANT).is_file():
            found[CROISSANT] = self._description(rows, remote, held, tag)
        return found

    def _description(self, rows: Rows, remote: Remote, held: State, tag: str | None) -> bytes:
        """The Croissant description of the release: that of the repository, as long as it is still true.

        So the day in it is the one on which this release was first published, and publishing again changes nothing.
        """
        path = f"{prefix_of(self.config)}{CROISSANT}"
        earlier = remote.read(path, held.commit) if path in held.files else b""
        said = release_of(earlier)
        if said is not None and (tag is None or said.base_url == self._base_url(remote, tag)):
            again = croissant_text(self.folder, self.benchmark, rows, said).encode()
            if again == earlier and said.base_url.startswith(f"{remote.url}/"):
                return again
        version = tag.removeprefix("v") if tag else ""
        release = Release(
            url=remote.url,
            base_url=self._base_url(remote, tag or "main"),
            version=version if _SEMVER.fullmatch(version) else "",
            published=datetime.now(UTC).date().isoformat(),
        )
        return croissant_text(self.folder, self.benchmark, rows, release).encode()

    def _base_url(self, remote: Remote, revision: str) -> str:
        return f"{remote.url}/resolve/{revision}/{prefix_of(self.config)}"


def open_release(folder: Path, config: str | None) -> Configuration:
    """A folder that may be published, after a whole check of it.

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
    manifest = _manifest(folder)
    of_answers = is_answers(manifest)
    if of_answers and name == DEFAULT:
        raise PublishError(
            f"{folder} holds the answers of a model, which stand beside the cases. Name a configuration for them, "
            "e.g. --config answers-<model>."
        )
    problems: Sequence[object] = check_answers(folder) if of_answers else check_dataset(folder)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        see = "Make the answers again" if of_answers else f"See 'clmeeval-build validate {folder}'"
        raise PublishError(f"{folder} is not fit to be published: {str(problems[0]).rstrip('.')}{more}. {see}.")
    try:
        benchmark = storage.benchmark_named(manifest, str(folder))
    except DatasetError as error:
        raise PublishError(str(error)) from error
    splits = [split for split in SPLITS if split in manifest["splits"]] if of_answers else SPLITS
    return Configuration(folder, name, benchmark, splits, not of_answers)


def addressed(card: str, repo: str, benchmark: Benchmark[Any]) -> str:
    """A card that names the repository it is in: in its text, its examples and its citation."""
    usual = f"clmeeval/{benchmark.name}"
    if repo == usual:
        return card
    named = re.sub(rf"(?<![\w.-])(?<!(?<!/datasets)/){re.escape(usual)}(?![\w/-]|\.\w)", lambda _: repo, card)
    return named.replace(f"load_{benchmark.name}()", f'load_{benchmark.name}("{repo}")')


def _manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of a folder; an empty one where it has none, of which the check of the folder tells."""
    try:
        return storage.read_manifest(folder)
    except DatasetError:
        return {}

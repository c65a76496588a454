"""Result folders: what a run is, where it is kept, and when it is complete.

    results/<dataset>/<model>/<method>--<hash>/run.json       identity and environment
                                               records.jsonl  one line per finished case (a journal), or
                                               records-0-of-4.jsonl, ...: the same, written by shards of the run
                                               summary.json   written last: its existence means complete

The hash covers the identity, which is everything that can change a number and nothing else.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ResultsError
from clmeeval_data.journal import Journal

FORMAT = 2
SINGLE: Mapping[str, Any] = {"name": "single"}
MEASURED = frozenset({"cost", "details"})  # of an entry: what may differ between two computations of a case
_SHARD = re.compile(r"records-(\d+)-of-(\d+)\.jsonl")


@dataclass(frozen=True)
class RunIdentity:
    """Everything that can change a number of a run, as plain JSON values.

    ``dataset``: name, split, schema version and a hash of the evaluated cases. ``model``: name, fingerprint, dtype.
    ``method``: name and configuration. ``decoding``: how outputs are generated. ``seed``: of the whole run.
    ``protocol``: how many requests an edit holds (``protocols.EvaluationProtocol.as_dict``).
    """

    dataset: Mapping[str, Any]
    model: Mapping[str, Any]
    method: Mapping[str, Any]
    decoding: Mapping[str, Any]
    seed: int
    protocol: Mapping[str, Any] = field(default_factory=lambda: dict(SINGLE))

    def as_dict(self) -> dict[str, Any]:
        """The identity as one JSON object."""
        return {
            "format": FORMAT,
            "dataset": dict(self.dataset),
            "model": dict(self.model),
            "method": dict(self.method),
            "decoding": dict(self.decoding),
            "seed": self.seed,
            "protocol": dict(self.protocol),
        }

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits that name this identity."""
        text = json.dumps(self.as_dict(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def folder(self) -> Path:
        """Where this run is kept, relative to the results folder."""
        method = f"{slug(self.method['name'])}--{self.hash}"
        return Path(slug(self.dataset["name"])) / slug(self.model["name"]) / method


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @property
    def journal(self) -> Journal:
        """The finished cases, where the run is computed as a whole."""
        return Journal(self.path / "records.jsonl")

    def shard(self, index: int, count: int) -> Journal:
        """The finished cases of one of ``count`` shards, counted from 0."""
        return Journal(self.path / f"records-{index}-of-{count}.jsonl")

    def journals(self) -> list[Journal]:
        """All journals that are there: of the whole run, then of its shards."""
        whole = [self.journal] if self.journal.path.exists() else []
        found = [(match, path) for path in self.path.glob("records-*.jsonl") if (match := _SHARD.fullmatch(path.name))]
        ordered = sorted(found, key=lambda one: (int(one[0][2]), int(one[0][1])))
        return [*whole, *(Journal(path) for _, path in ordered)]

    def entries(self) -> dict[str, dict[str, Any]]:
        """The finished cases by id, of all journals together. What two have counts once.

        Raises:
            ResultsError: If a journal is damaged, or two of them differ in a case beyond what it cost.
        """
        found: dict[str, dict[str, Any]] = {}
        for journal in self.journals():
            for key, entry in journal.read().items():
                if key in found and not same_result(found[key], entry):
                    raise ResultsError(
                        f"{journal.path} has another result for case {key!r} than an earlier journal of {self.path}. "
                        "Move one of the two files away."
                    )
                found.setdefault(key, entry)
        return found

    @contextmanager
    def held(self, journal: Journal) -> Iterator[None]:
        """Inside the block nobody else writes this journal, or computes cases of the run that are computed here.

        Beside the whole run no shard is computed, beside a shard only others of the same number.

        Raises:
            ResultsError: If another process does.
        """
        with ExitStack() as stack:
            stack.enter_context(journal.held())
            for other in [self.journal, *self.journals()]:
                if other.path != journal.path and _count(other) != _count(journal) and other.path.exists():
                    with other.held():
                        pass
            yield

    def open(self, identity: RunIdentity, environment: Mapping[str, Any]) -> None:
        """Make the folder, or check that it holds this very run.

        Raises:
            ResultsError: If the folder holds a run of another identity, or cannot be written.
        """
        described = self.path / "run.json"
        if described.exists():
            found = read_json(described).get("identity")
            if found != json.loads(json.dumps(identity.as_dict())):
                raise ResultsError(
                    f"{self.path} holds a run of another configuration than the one asked for. "
                    "Move it away, or choose another --out."
                )
            return
        write_json(described, {"identity": identity.as_dict(), "hash": identity.hash, "environment": dict(environment)})

    def run(self) -> dict[str, Any]:
        """Identity and environment, as written in run.json."""
        return read_json(self.path / "run.json")

    def summary(self) -> dict[str, Any] | None:
        """The summary of a complete run, or None while it is incomplete."""
        path = self.path / "summary.json"
        return read_json(path) if path.exists() else None

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run as complete."""
        write_json(self.path / "summary.json", summary)


def same_result(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two entries of a case agree in all but what was measured."""
    mine, theirs = ({key: value for key, value in entry.items() if key not in MEASURED} for entry in (first, second))
    return mine == theirs


def find_runs(results: Path) -> Iterator[RunFolder]:
    """All runs below a results folder, complete or not, in the order of their paths.

    Raises:
        ResultsError: If the folder does not exist.
    """
    if not results.is_dir():
        raise ResultsError(f"no results folder {results}. Expected the --out of clmeeval-evaluate run.")
    for described in sorted(results.rglob("run.json")):
        yield RunFolder(described.parent)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file aside, then rename it into place, so that readers never see half of it.

    Raises:
        ResultsError: If the file cannot be written.
    """
    try:
        with written_aside(path) as aside:
            aside.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}. Choose a folder you may write to.") from error


def slug(name: str) -> str:
    """A name as one path component: ``org/model`` becomes ``org--model``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "--")).strip("-.") or "unnamed"


def _count(journal: Journal) -> int:
    """Of how many shards a journal is one; 0 for the journal of the whole run."""
    match = _SHARD.fullmatch(journal.path.name)
    return int(match[2]) if match else 0


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ResultsError: If it is missing, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path} is missing: the folder is not a complete result of a run.") from None
    except ValueError as error:
        raise ResultsError(f"{path} is not valid JSON ({error}). Move the folder away and run again.") from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path} holds a {type(content).__name__}, not a JSON object. Move the folder away.")
    return content

"""Result folders: what a run is, where it is kept, and when it is complete.

    results/<dataset>/<model>/<method>--<hash>/run.json       identity and environment
                                               records.jsonl  one line per finished case (a journal)
                                               summary.json   written last: its existence means complete

The hash covers the identity, which is everything that can change a number and nothing else.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ResultsError
from clmeeval_data.journal import Journal

FORMAT = 1


@dataclass(frozen=True)
class RunIdentity:
    """Everything that can change a number of a run, as plain JSON values.

    ``dataset``: name, split, schema version and a hash of the evaluated cases. ``model``: name, fingerprint, dtype.
    ``method``: name and configuration. ``decoding``: how outputs are generated. ``seed``: of the whole run.
    """

    dataset: Mapping[str, Any]
    model: Mapping[str, Any]
    method: Mapping[str, Any]
    decoding: Mapping[str, Any]
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """The identity as one JSON object."""
        return {
            "format": FORMAT,
            "dataset": dict(self.dataset),
            "model": dict(self.model),
            "method": dict(self.method),
            "decoding": dict(self.decoding),
            "seed": self.seed,
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
        """The finished cases."""
        return Journal(self.path / "records.jsonl")

    def open(self, identity: RunIdentity, environment: Mapping[str, Any]) -> None:
        """Make the folder, or check that it holds this very run.

        Raises:
            ResultsError: If the folder holds a run of another identity, or cannot be written.
        """
        described = self.path / "run.json"
        if described.exists():
            found = _read_json(described).get("identity")
            if found != json.loads(json.dumps(identity.as_dict())):
                raise ResultsError(
                    f"{self.path} holds a run of another configuration than the one asked for. "
                    "Move it away, or choose another --out."
                )
            return
        write_json(described, {"identity": identity.as_dict(), "hash": identity.hash, "environment": dict(environment)})

    def run(self) -> dict[str, Any]:
        """Identity and environment, as written in run.json."""
        return _read_json(self.path / "run.json")

    def summary(self) -> dict[str, Any] | None:
        """The summary of a complete run, or None while it is incomplete."""
        path = self.path / "summary.json"
        return _read_json(path) if path.exists() else None

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run as complete."""
        write_json(self.path / "summary.json", summary)


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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path} is missing: the folder is not a complete result of a run.") from None
    except ValueError as error:
        raise ResultsError(f"{path} is not valid JSON ({error}). Move the folder away and run again.") from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path} holds a {type(content).__name__}, not a JSON object. Move the folder away.")
    return content

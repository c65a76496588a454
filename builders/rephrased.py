"""A built dataset with its rephrasings made anew; all else in it stays."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from clmeeval_data import storage
from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.overrides import changed
from clmeeval_data.builders.pipeline import Track, check_out
from clmeeval_data.builders.recipes import RECIPES
from clmeeval_data.errors import ConfigError
from clmeeval_data.paraphrase.checked import rephrase_checked
from clmeeval_data.paraphrase.checks import Bounds
from clmeeval_data.paraphrase.engine import Rephrased, Setting, in_turn
from clmeeval_data.records import SPLITS, Benchmark, Record

_AT_ONCE = 500  # cases
_ADDED = ("benchmark", "schema_version", "splits", "versions")  # what storage writes into a manifest

Reword = Callable[[Mapping[str, str]], list[Rephrased]]


@dataclass(frozen=True)
class Task:
    """How rephrasings are made anew.

    Args:
        engines: Names, in the order of preference.
        seed: Of the wordings.
        chat: For the engine llm.
        runs: On how many generated inputs a function that a model has written is run; None as the dataset was built.
        strength: How many kinds of rewriting one function gets at most (syntax).
    """

    engines: tuple[str, ...]
    seed: int = 0
    chat: Chat | None = None
    runs: int | None = None
    strength: int = 3

    def command(self, benchmark: str) -> str:
        """What does the same to a dataset in the folder where a build puts it."""
        words = ["clmeeval-build", "paraphrase", f"clmeeval/{benchmark}"]
        words += [word for name in self.engines for word in ("--engine", name)]
        words += ["--seed", str(self.seed), "--strength", str(self.strength)]
        words += [] if self.runs is None else ["--runs", str(self.runs)]
        return shlex.join([*words, *([] if self.chat is None else self.chat.words)])

    def as_dict(self) -> dict[str, Any]:
        """What decides the result, as JSON values."""
        chat = {} if self.chat is None else {"llm": self.chat.identity}
        runs = {} if self.runs is None else {"runs": self.runs}
        return {"engines": list(self.engines), "seed": self.seed, "strength": self.strength, **runs, **chat}


@dataclass(frozen=True)
class Outcome:
    """What became of the cases.

    Args:
        out: Where the dataset was written.
        made: How many cases each engine has reworded.
        kept: How many have kept their old rephrasing, because no engine had a wording that passed the checks.
        refusals: Why these were not reworded, and how often.
    """

    out: Path
    made: Mapping[str, int]
    kept: int
    refusals: Mapping[str, int]

    def table(self) -> Table:
        """A row for each engine, and one for each reason why a case was left as it was."""
        table = Table("made by", Column("reason", overflow="fold"), Column("cases", justify="right"))
        for engine, count in self.made.items():
            table.add_row(engine, "", str(count))
        for reason, count in self.refusals.items():
            table.add_row("as it was", reason, str(count))
        return table


def rephrase_dataset(
    folder: Path, task: Task, out: Path | None = None, track: Track = lambda rows, _title, _total: rows
) -> Outcome:
    """Make the rephrasings of a dataset anew, and write the dataset once all are made.

    A case that no engine can reword keeps the rephrasing that it had. The engine "human" gives a case the wording that
    a person wrote for it, where it still has it.

    Args:
        folder: The dataset.
        task: What to do.
        out: Where to write the result; None replaces the dataset itself. A dataset that is there is replaced.
        track: Wraps the cases, given a title and how many there are, to show progress.

    Raises:
        UnknownNameError: If there is no such engine.
        ConfigError: If no engine is named, one lacks its chat model, or none can reword any case, so that nothing was
            written.
        DatasetError: If the folder is no dataset, or the result can't be written.
        ChatError: If the chat model can't be asked, or its budget is spent; nothing is written then.
    """
    if not task.engines:
        raise ConfigError("no engine to rephrase with. Expected at least one --engine, e.g. --engine rules.")
    if task.runs is not None and task.runs < 0:
        raise ConfigError(f"--runs {task.runs} is too small. Expected 0, which runs nothing, or more.")
    target = out or folder
    manifest, benchmark = storage.read_manifest(folder), storage.benchmark_of(folder)
    check_out(target)
    bounds = _bounds(manifest, benchmark.name, task.runs)
    splits = {split: storage.read_split(folder, split) for split in SPLITS}
    records = [record for split in SPLITS for record in splits[split]]
    chat = None if task.chat is None else task.chat.model
    setting = Setting(task.seed, _written(records, benchmark), bounds.code, chat, task.strength)
    engines = in_turn(task.engines, setting)
    found = _found(records, benchmark, lambda targets: rephrase_checked(targets, engines, bounds), track)
    outcome = _outcome(target, found, task)
    placed = iter(found)
    new = {
        split: [_reworded(record, next(placed), benchmark.rephrased_field) for record in splits[split]]
        for split in SPLITS
    }
    storage.write_dataset(target, benchmark, new, _manifest(manifest, benchmark.name, task, outcome), _dropped(folder))
    return outcome


def _bounds(manifest: Mapping[str, Any], benchmark: str, runs: int | None) -> Bounds:
    """The bounds by which the dataset was built, or else those of its benchmark."""
    recipe = manifest.get("recipe")
    stated = recipe.get("bounds") if isinstance(recipe, Mapping) else None
    values = dict(stated) if isinstance(stated, Mapping) else {}
    values |= {} if runs is None else {"runs": runs}
    return changed(RECIPES[benchmark], {f"bounds.{name}": value for name, value in values.items()}).bounds


def _written(records: Sequence[Record], benchmark: Benchmark[Any]) -> dict[str, str]:
    """What people wrote, by prompt."""
    by_people = (record for record in records if record.rephrasing.engine == "human")
    return {_prompt(record, benchmark): str(getattr(record, benchmark.rephrased_field)) for record in by_people}


def _prompt(record: Record, benchmark: Benchmark[Any]) -> str:
    return str(getattr(record, benchmark.prompt_field))


def _found(records: Sequence[Record], benchmark: Benchmark[Any], reword: Reword, track: Track) -> list[Rephrased]:
    """What came of each record, in their order."""

    def each() -> Iterator[Rephrased]:
        for start in range(0, len(records), _AT_ONCE):
            some = records[start : start + _AT_ONCE]
            targets = {_prompt(record, benchmark): str(getattr(record, benchmark.target_field)) for record in some}
            results = dict(zip(targets, reword(targets), strict=True))
            yield from (results[_prompt(record, benchmark)] for record in some)

    return list(track(each(), "rephrasing", len(records)))


def _outcome(out: Path, found: Sequence[Rephrased], task: Task) -> Outcome:
    made = Counter(result.rephrasing.engine for result in found if result.rephrasing is not None)
    refusals = Counter("; ".join(result.refusals) for result in found if result.rephrasing is None)
    if not made:
        reason, count = refusals.most_common(1)[0]
        raise ConfigError(
            f"none of the {len(found)} cases could be reworded by {', '.join(task.engines)} ({reason}: {count}), so "
            "the dataset is left as it was. Choose other engines: rules and human are for intents, syntax and rename "
            "for functions, llm for both."
        )
    ordered = sorted(refusals.items(), key=lambda item: (-item[1], item[0]))
    return Outcome(out, {name: made[name] for name in task.engines if name in made}, refusals.total(), dict(ordered))


def _reworded(record: Record, result: Rephrased, field: str) -> Record:
    if result.text is None or result.rephrasing is None:
        return record
    values: dict[str, Any] = {field: result.text, "rephrasing": result.rephrasing}
    return replace(record, **values)


def _manifest(old: Mapping[str, Any], benchmark: str, task: Task, outcome: Outcome) -> dict[str, Any]:
    """The manifest with what was done, after whatever was done so before."""
    done = {
        **task.as_dict(),
        "made": dict(outcome.made),
        "kept": outcome.kept,
        "refusals": dict(outcome.refusals),
    }
    command = " && ".join(filter(None, [old.get("command"), task.command(benchmark)]))
    rest = {name: value for name, value in old.items() if name not in _ADDED}
    return {**rest, "command": command, "rephrased": [*old.get("rephrased", ()), done]}


def _dropped(folder: Path) -> Iterator[dict[str, Any]] | None:
    path = folder / storage.DROPPED
    return storage.read_jsonl(path) if path.exists() else None

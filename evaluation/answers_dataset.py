"""Asking an unedited model all prompts of a dataset, and writing its answers as a configuration of the dataset."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.answers import (
    Answer,
    AnswersManifest,
    CaseAnswers,
    config_name,
    read_manifest,
    read_rows,
    write_answers,
)
from clmeeval_data.errors import CaseError, ConfigError, DatasetError
from clmeeval_data.evaluation.answers import AnswersFile, UneditedAnswers, case_key
from clmeeval_data.evaluation.editors.contract import Case, Track, untracked
from clmeeval_data.evaluation.measurement import is_out_of_memory
from clmeeval_data.evaluation.model.lm import LanguageModel, load_language_model
from clmeeval_data.evaluation.published_answers import answering, written
from clmeeval_data.evaluation.scoring.dimensions import Answers, case_of
from clmeeval_data.records import SPLITS, Benchmark

PACKAGES = ("torch", "transformers", "tokenizers")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnswersPlan:
    """Which model is asked, and which cases of a dataset.

    ``folder``: of the dataset. ``limit``: only the first cases of each split. ``out``: the configuration's folder; by
    default ``answers-<model>`` inside the dataset's.
    """

    folder: Path
    model: str
    splits: tuple[str, ...] = SPLITS
    limit: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 16
    out: Path | None = None

    def __post_init__(self) -> None:
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown:
            raise ConfigError(f"unknown split {unknown[0]!r}. Known: {', '.join(SPLITS)}.")
        if self.batch_size < 1 or (self.limit is not None and self.limit < 1):
            raise ConfigError(f"--batch-size is {self.batch_size}, --limit {self.limit}; expected 1 or more.")


@dataclass(frozen=True)
class MadeAnswers:
    """What became of a plan: where the answers are, how many there are, how many were written now, and who has none."""

    out: Path
    total: int
    added: int
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        without = f", {len(self.left_out)} cases left out" if self.left_out else ""
        return f"{self.out}: answers to {self.total} cases, {self.added} of them new{without}"


@dataclass
class _Work:
    """What is known while answers are made, by the keys of cases."""

    rows: dict[str, CaseAnswers] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def make_answers(plan: AnswersPlan, track: Track = untracked) -> MadeAnswers:
    """Ask a model, and write or complete the configuration of its answers; what is there already is not asked again.

    A stopped run goes on where it stopped. Answers to other cases of the same dataset stay in the configuration. A case
    that the model cannot be asked, e.g. because it is too long, is left out with its reason.

    Raises:
        DatasetError: If the dataset cannot be read, or the answers not be written.
        ModelError: If the model cannot be used.
        ConfigError: If the folder holds answers of another model.
    """
    benchmark = storage.benchmark_of(plan.folder)
    records = {split: storage.read_split(plan.folder, split) for split in SPLITS}
    lm = load_language_model(plan.model, plan.device, plan.dtype)
    out = plan.out or plan.folder / config_name(lm.name, answering(lm).dtype)
    known, before = _existing(out, benchmark, lm)
    cases = {split: [case_of(benchmark, record) for record in records[split]] for split in SPLITS}
    asked = {split: cases[split][: plan.limit] for split in SPLITS if split in plan.splits}
    missing = _missing(asked, known)
    if missing:
        scratch = out.parent / f".{out.name}.work"
        _ask(AnswersFile(scratch, benchmark.name, lm.identity), lm, missing, plan.batch_size, known, track)
    splits = {split: [known.rows[key] for key in map(case_key, cases[split]) if key in known.rows] for split in SPLITS}
    total, keys = sum(map(len, splits.values())), {case_key(case) for split in SPLITS for case in cases[split]}
    manifest = AnswersManifest(
        benchmark,
        answering(lm),
        {split: storage.content_hash(map(benchmark.to_row, records[split])) for split in SPLITS if splits[split]},
        {},
        {key: reason for key, reason in sorted(known.left_out.items()) if key in keys},
        {name: version(name) for name in PACKAGES},
    )
    if missing or before is None or before.dataset != manifest.dataset:
        write_answers(out, manifest, splits)
    if missing:
        shutil.rmtree(scratch, ignore_errors=True)
    return MadeAnswers(out, total, sum(case_key(case) in known.rows for case in missing), manifest.left_out)


def _existing(out: Path, benchmark: Benchmark[Any], lm: LanguageModel) -> tuple[_Work, AnswersManifest | None]:
    """The answers that a folder holds already, and what it says about them; None where they are to be written anew.

    Raises:
        ConfigError: If it holds something else.
    """
    if not (out / storage.MANIFEST).exists():
        if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {"data", "README.md"}):
            raise ConfigError(f"{out} holds something else than answers; it was left as it is. Choose another --out.")
        return _Work(), None
    manifest, now = read_manifest(out), answering(lm)
    if manifest.benchmark is not benchmark or not manifest.answering.is_same(now):
        held = manifest.answering
        raise ConfigError(
            f"{out} holds answers of {held.model} ({held.dtype}, fingerprint {held.fingerprint}) to "
            f"{manifest.benchmark.name}, not of {now.model} ({now.dtype}, {now.fingerprint}) to {benchmark.name} asked "
            "as it would be now; they were left as they are. Choose another --out, or move them away."
        )
    work, is_whole = _Work({}, dict(manifest.left_out)), True
    for split in manifest.splits:
        try:
            work.rows |= {row.key: row for row in read_rows(storage.parquet_path(out, split))}
        except DatasetError as error:
            logger.warning("%s", error)
            is_whole = False
    return work, manifest if is_whole else None


def _missing(asked: Mapping[str, Sequence[Case]], known: _Work) -> list[Case]:
    return [
        case
        for split in asked
        for case in asked[split]
        if (key := case_key(case)) not in known.rows and key not in known.left_out
    ]


def _ask(
    finished: AnswersFile, lm: LanguageModel, cases: Sequence[Case], size: int, known: _Work, track: Track
) -> None:
    """Ask all cases, in batches of similar length, and add what the model says to what is known."""
    unedited = UneditedAnswers(lm, finished.known(cases))
    ordered = sorted(cases, key=lambda case: max(map(len, case.prompts)) + len(case.target))
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]

    def answered() -> Iterator[Case]:
        for batch in batches:
            together = list(_together(unedited, batch))
            finished.add(unedited.taken())
            for case, answers in together:
                if isinstance(answers, CaseError):
                    logger.warning("case %s is left out: %s", case.case_id, answers)
                    known.left_out[case_key(case)] = str(answers)
                else:
                    known.rows[case_key(case)] = _row(lm, case, answers)
                yield case

    for _ in track(answered(), f"answers of {lm.name}", len(cases)):
        pass


def _together(unedited: UneditedAnswers, cases: Sequence[Case]) -> Iterator[tuple[Case, Answers | CaseError]]:
    """The answers to a batch, or where that fails to smaller ones."""
    try:
        found: Sequence[Answers | CaseError] = unedited.of(cases)
    except CaseError as error:
        if len(cases) > 1:
            for case in cases:
                yield from _together(unedited, [case])
            return
        found = [error]
    except (RuntimeError, MemoryError) as error:
        if len(cases) == 1 or not is_out_of_memory(error):
            raise
        half = len(cases) // 2
        logger.warning("out of memory with %d cases at once: going on with %d", len(cases), half)
        yield from _together(unedited, cases[:half])
        yield from _together(unedited, cases[half:])
        return
    yield from zip(cases, found, strict=True)


def _row(lm: LanguageModel, case: Case, answers: Answers) -> CaseAnswers:
    prompt, rephrased, *near = (Answer(tuple(ids), written(lm, ids)) for ids in answers.prompts)
    return CaseAnswers(case.case_id, case_key(case), prompt, rephrased, tuple(near))

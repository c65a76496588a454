"""Datasets as files for other tools: ``export_dataset``, and the formats by name."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.answers import CaseAnswers, read_answers, read_manifest
from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import DatasetError
from clmeeval_data.export import code_llmedit
from clmeeval_data.export.contract import ExportedFile, Format
from clmeeval_data.records import SPLITS, Benchmark, Record
from clmeeval_data.registry import Registry

FORMATS: Registry[Format] = Registry(
    "format",
    {
        "code-llmedit": "clmeeval_data.export.code_llmedit:files",
        "easyedit": "clmeeval_data.export.easyedit:files",
        "jsonl": "clmeeval_data.export.jsonl:files",
    },
)

WITH_ANSWERS = "code-llmedit"

__all__ = ["FORMATS", "ExportedFile", "Format", "export_dataset"]


def export_dataset(
    folder: Path, form: str, splits: Sequence[str] = SPLITS, out: Path | None = None, answers: Path | None = None
) -> list[Path]:
    """Write the cases of a dataset as files that another tool reads.

    Everything is read before anything is written; each file appears once it is complete, in the place of one that was
    there. The same dataset gives the same bytes.

    Args:
        folder: The dataset's folder.
        form: One of ``FORMATS``.
        splits: Which splits; their order is that of the dataset.
        out: Where the files go; by default a folder beside the dataset, called after both.
        answers: A folder of answers of a model to this dataset, for code-llmedit.

    Returns:
        The files.

    Raises:
        UnknownNameError: If there is no such format.
        DatasetError: If there is no such split, the folder is no sound dataset, the answers are not those to its
            cases, or a file can't be written.
    """
    made_by = FORMATS[form]
    if answers is not None and form != WITH_ANSWERS:
        raise DatasetError(f"--answers is for --format {WITH_ANSWERS}; {form} has no place for them. Leave it out.")
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits:
        asked = f"unknown split {unknown[0]!r}" if unknown else "no split to export"
        raise DatasetError(f"{asked}. Known: {', '.join(SPLITS)}.")
    whole, benchmark = folder.resolve(), storage.benchmark_of(folder)
    cases = {split: storage.read_split(folder, split) for split in SPLITS if split in splits}
    if answers is not None:
        made_by = _with_answers(benchmark, cases, answers)
    target = whole.with_name(f"{whole.name}-{form}") if out is None else out
    return [_write(target / file.name, file) for file in made_by(benchmark, cases)]


def _with_answers(benchmark: Benchmark[Any], cases: Mapping[str, Sequence[Record]], answers: Path) -> Format:
    """The format that has a place for answers, with those in a folder.

    Raises:
        DatasetError: If they are damaged, or are not answers to these very cases.
    """
    manifest = read_manifest(answers)
    again = f"Run 'clmeeval-build answers' with --model {manifest.answering.model}"
    if manifest.benchmark is not benchmark:
        raise DatasetError(
            f"{answers} holds answers to {manifest.benchmark.name}, not to {benchmark.name}. Give another --answers."
        )
    rows: dict[str, CaseAnswers] = {}
    for split, records in cases.items():
        if split in manifest.splits:
            if manifest.dataset.get(split) != storage.content_hash(map(benchmark.to_row, records)):
                raise DatasetError(f"{answers} holds answers to another {split} split than this one. {again} again.")
            rows |= {row.case_id: row for row in read_answers(storage.parquet_path(answers, split), manifest, split)}
        without = [record for record in records if not _is_answered(record, rows)]
        if without:
            raise DatasetError(
                f"{answers} has no answers to {len(without)} of the {len(records)} cases of the {split} split, e.g. "
                f"{without[0].case_id}. {again} and without --limit, or choose others with --split."
            )
    return partial(code_llmedit.files, answers=code_llmedit.model_answers(manifest.answering, rows.values()))


def _is_answered(record: Record, rows: Mapping[str, CaseAnswers]) -> bool:
    row = rows.get(record.case_id)
    return row is not None and len(row.neighbours) == len(record.neighborhood)


def _write(path: Path, file: ExportedFile) -> Path:
    try:
        with written_aside(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(_text(file))
    except OSError as error:
        raise DatasetError(
            f"cannot write {path}: {error.strerror or error}. Choose another --out, or make room, and run the same "
            "command again."
        ) from error
    except ValueError as error:
        raise DatasetError(
            f"a case can't be written to {path} ({error}). Expected text and finite numbers: 'clmeeval-build validate' "
            "names the case."
        ) from error
    return path


def _text(file: ExportedFile) -> Iterator[str]:
    # the tools that read arrays open them in the encoding of the machine, so these are ASCII
    rows = (json.dumps(row, ensure_ascii=file.layout == "array", allow_nan=False) for row in file.rows)
    if file.layout == "lines":
        yield from (f"{row}\n" for row in rows)
        return
    yield "["
    for number, row in enumerate(rows):
        yield f"{',' if number else ''}\n{row}"
    yield "\n]\n"

"""The command ``clmeeval-evaluate compare``: two runs side by side in a terminal, and as JSON."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.compare import (
    RIGHT_AFTER,
    CaseDifference,
    Correction,
    Entry,
    Measured,
    RunComparison,
    Side,
    compare_runs,
    find_run,
    read_side,
)
from clmeeval_data.evaluation.report.differences import compare as compare_texts
from clmeeval_data.evaluation.report.untrusted import Clipped, clip, one_line
from clmeeval_data.evaluation.results import write_json
from clmeeval_data.evaluation.scoring.slices import SLICINGS, Slicing

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as Grid
    from rich.text import Text

HELP = """Compare two runs on the same cases: by how much they differ, how sure that is, and where.

A run is named by its folder, or by the first digits of its hash, which is looked for below --results.

Examples:

  clmeeval-evaluate compare results/cnle/smollm2/grace--8db2c27b28 results/cnle/smollm2/rome--c2a52c7c6d

  clmeeval-evaluate compare 8db2 c2a5 --metric exact_match --by target --by library --cases 10

  clmeeval-evaluate compare 8db2 c2a5 --by source --dataset clmeeval/cnle --json differences.json
"""
BY = f"Compare in slices too: {', '.join(SLICINGS)}. Repeatable."
FILE_WIDTH = 140  # characters: of the tables where they go to a file or a pipe
LONGEST = 600  # characters of a prompt or a target
SIGNIFICANT = 0.05  # of corrected p: rows below are bold
MARKS = {"same": ("", "", ""), "added": ("{+", "+}", "green"), "missing": ("[-", "-]", "red")}
LEGEND = (
    "A − B: mean difference over the common cases with its 95 % interval; a failed case counts as 0. "
    "p: McNemar's exact test for scores that are 0 or 1, else a permutation test by sign flips. "
    "A : B higher: cases in which that run scores higher. Bold: p below 0.05 after correction."
)


def add_to(app: typer.Typer) -> None:
    """Make ``compare`` a command of an application."""
    app.command(name="compare", help=HELP)(compare)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A run: its folder, or the first digits of its hash.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The run to compare it with.")],
    results: Annotated[Path, typer.Option(help="Where runs are looked for by hash.")] = Path("results"),
    metric: Annotated[
        list[str] | None, typer.Option(help="Only this metric. Repeatable; the first orders cases.")
    ] = None,
    by: Annotated[list[str] | None, typer.Option(help=BY)] = None,
    dataset: Annotated[str | None, typer.Option(help="The dataset, for slices by source or similarity.")] = None,
    revision: Annotated[str | None, typer.Option(help="A tag, branch or commit of the dataset on the Hub.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="How many differing cases to show.")] = 5,
    correction: Annotated[Correction, typer.Option(help="Of the p values for their number.")] = "holm",
    seed: Annotated[int, typer.Option(help="Of the permutation tests.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Also write everything into this file.")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Compare runs that differ in more than the method.")] = False,
) -> None:
    """Compare two runs on the same cases."""
    from rich.console import Console
    from rich.text import Text

    if revision is not None and dataset is None:
        raise ConfigError("--revision is that of --dataset. Pass both, or neither.")
    sides = [read_side(find_run(name, results)) for name in (first, second)]
    compared = compare_runs(
        *sides,
        metrics=metric or (),
        by=cast("list[Slicing]", by or []),  # slice_by refuses others
        records=_records(dataset, revision, sides[0]) if dataset else None,
        cases=cases,
        correction=correction,
        anyway=anyway,
        seed=seed,
    )
    if json is not None:
        write_json(json, compared.as_dict())
    console = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    for part in terminal(compared):
        console.print(part, soft_wrap=isinstance(part, Text))


def _records(dataset: str, revision: str | None, side: Side) -> dict[str, Any]:
    """The records of the split that a run was made on, by case id.

    Raises:
        ConfigError: If the dataset has none of the run's cases.
        DatasetError: If it, or the revision, cannot be read.
    """
    from clmeeval_data.hub import open_split

    parts = dict(part.partition(":")[::2] for part in side.signature.split("|"))
    records = {record.case_id: record for record in open_split(dataset, parts["split"], revision).records}
    if not records.keys() & side.entries.keys():
        raise ConfigError(f"{dataset} has no case of {side.folder}. Pass the dataset that the run was made on.")
    return records


def terminal(compared: RunComparison) -> "Iterator[RenderableType]":
    """What the command prints, part by part; nothing that others wrote reaches the terminal as it is."""
    from rich.text import Text

    for name, side in (("A", compared.first), ("B", compared.second)):
        counts = f"{len(side.entries)} cases finished, {side.failed} failed"
        yield Text(f"{name}  {one_line(side.method)} {one_line(side.hash)}  {one_line(str(side.folder))}  {counts}")
    if compared.differs:
        yield Text(
            f"The runs differ in more than the method: {one_line('; '.join(compared.differs))}.", style="bold red"
        )
    else:
        yield Text(f"signature {one_line(compared.first.signature)}", style="dim")
    yield Text(f"{len(compared.common)} cases in common.")
    yield _grid(("dimension", "metric"), [((row.dimension, row.metric), row) for row in compared.measured])
    if compared.slices:
        labels = ((part, row) for part in compared.slices for row in part.measured)
        heads = (compared.metric, "slice", "dimension")
        yield _grid(heads, [((part.by, one_line(part.label), row.dimension), row) for part, row in labels])
    yield Text(f"{LEGEND} {_about_correction(compared)}", style="dim")
    yield from _cases(compared)


def _grid(heads: Sequence[str], rows: Sequence[tuple[tuple[str, ...], Measured]]) -> "Grid":
    """A table of measures, each with the names that stand in front of it."""
    from rich import box
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        grid.add_column(head, overflow="fold")
    for head in ("cases", "A", "B", "A − B", "95 % interval", "p", "corrected", "A : B higher"):
        grid.add_column(head, justify="right", no_wrap=True)
    for position, (names, row) in enumerate(rows):
        last = position + 1 == len(rows) or rows[position + 1][0][0] != names[0]
        found = row.comparison
        bounds = "" if found.low is None or found.high is None else f"{found.low:+.3f} to {found.high:+.3f}"
        numbers = (f"{found.n}", f"{row.first:.3f}", f"{row.second:.3f}", f"{found.difference:+.3f}", bounds)
        style = "bold" if row.corrected < SIGNIFICANT else None
        shown = [name.replace("_", " ") for name in names]
        grid.add_row(
            *shown,
            *numbers,
            _p(found.p),
            _p(row.corrected),
            f"{row.higher} : {row.lower}",
            end_section=last,
            style=style,
        )
    return grid


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _about_correction(compared: RunComparison) -> str:
    if compared.correction == "none":
        return "p values are not corrected for their number."
    where = "all rows of a table" if not compared.slices else "all rows of the table, and once more over all slices"
    return f"corrected: over {where}, by {compared.correction}."


def _cases(compared: RunComparison) -> "Iterator[RenderableType]":
    from rich.text import Text

    for number, case in enumerate(compared.differing, start=1):
        dimension = case.dimension.replace("_", " ")
        head = f"{number}. {case.case_id}  {dimension} {compared.metric}: A − B = {case.difference:+.3f}"
        yield Text(one_line(head), style="bold")
        yield from _case(case)
        yield Text()
    if compared.differing:
        yield Text("In an answer: {+only there+}, [-only in what was expected-].", style="dim")


def _case(case: CaseDifference) -> "Iterator[Text]":
    """Prompt, what was expected, and what both runs answered."""
    position = _telling_neighbour(case) if case.dimension == "specificity" else 0
    asked = case.first["case"]
    prompts = {"generalisation": asked.get("rephrased_prompt"), "specificity": asked["neighbour_prompts"][position:]}
    prompt = prompts.get(case.dimension, asked["prompt"])
    yield _labelled("prompt", clip(str(prompt[0] if isinstance(prompt, list) else prompt), LONGEST))
    expected = next(filter(None, (_expected(case, entry, position) for entry in (case.first, case.second))), None)
    if expected is not None:
        label = "unedited" if case.dimension == "specificity" else "target"
        yield _labelled(label, clip(expected, LONGEST))
    for name, entry in (("A", case.first), ("B", case.second)):
        yield _answer(name, entry, case.dimension, position, expected)


def _expected(case: CaseDifference, entry: Entry, position: int) -> str | None:
    """What an answer is compared with: the target, or before the edit the answer to a neighbour; None for a sample."""
    if case.dimension == "fluency":
        return None
    if case.dimension != "specificity":
        return str(case.first["case"]["target"])
    return None if entry.get("error") is not None else str(entry["outputs"]["specificity"][position]["before"])


def _telling_neighbour(case: CaseDifference) -> int:
    """The first neighbour that just one of the two runs answers as before; 0 where there is none."""
    kept = [
        [item["after"].strip() == item["before"].strip() for item in entry["outputs"]["specificity"]]
        for entry in (case.first, case.second)
        if entry.get("error") is None
    ]
    if len(kept) == 1:
        return 0
    return next((place for place, both in enumerate(zip(*kept, strict=False)) if both[0] != both[1]), 0)


def _answer(name: str, entry: Entry, dimension: str, position: int, expected: str | None) -> "Text":
    from rich.text import Text

    error = entry.get("error")
    if error is not None:
        return _labelled(name, clip(f"failed: {error.get('type')}: {error.get('message')}", LONGEST))
    outputs = entry[RIGHT_AFTER]["outputs"] if dimension == RIGHT_AFTER else entry["outputs"]
    found = outputs["effectiveness" if dimension == RIGHT_AFTER else dimension]
    answer = str((found[position] if dimension == "specificity" else found)["after"])
    if expected is None:
        return _labelled(name, clip(answer, LONGEST))
    compared = compare_texts(answer, expected)
    text = Text(f"{name:>9}  ")
    alike = any(piece.kind == "same" and piece.text.strip() for piece in compared.pieces)
    for piece in compared.pieces:
        before, after, style = MARKS[piece.kind] if alike else ("", "", MARKS[piece.kind][2])
        if alike or piece.kind != "missing":
            text.append(f"{before}{_indented(piece.text)}{after}", style=style)
    return text.append("  (equal)" if compared.equal else "", style="dim")


def _labelled(label: str, clipped: Clipped) -> "Text":
    from rich.text import Text

    more = f" … {clipped.hidden} more characters" if clipped.hidden else ""
    return Text(f"{label:>9}  {_indented(clipped.text)}{more}")


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + " " * 11)

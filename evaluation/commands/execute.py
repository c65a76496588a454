"""The command ``clmeeval-evaluate execute``: run a run's outputs with tests, and print how many pass."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from clmeeval_data.sandbox.trial import Verdict

HELP = """Run the outputs of a CNLE run with tests of its cases, and print how many pass.

Each output runs in a Python process of its own, with limits on time, memory and files, without a network, in an empty
folder. That keeps accidents harmless; it is no jail for code that means harm: run models you do not trust in a
container.

--tests is a file of lines {"case_id": ..., "setup": ..., "test": ...}: setup, output and test are run in this order;
where the output is an expression the test finds its value as 'result'. By default: the tests of the packaged sample.

Examples:

  clmeeval-evaluate execute results/cnle/smollm2/grace--8db2c27b28

  clmeeval-evaluate execute results/cnle/smollm2/rome--c2a52c7c6d --tests tests.jsonl --timeout 10 --jobs 8
"""
FILE_WIDTH = 120  # characters: of the table where it goes to a file or a pipe


def add_to(app: typer.Typer) -> None:
    """Make ``execute`` a command of an application."""
    app.command(name="execute", help=HELP)(execute)


def execute(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    tests: Annotated[Path | None, typer.Option(help="JSON lines; by default the packaged sample's.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one output.")] = 5.0,
    jobs: Annotated[int, typer.Option(help="Processes at a time.")] = 2,
) -> None:
    """Run the outputs of a run with tests of its cases."""
    from rich.console import Console

    from clmeeval_data.evaluation.execute import FILE, execute_run, read_tests
    from clmeeval_data.evaluation.results import RunFolder

    content = execute_run(RunFolder(run), read_tests(tests), timeout=timeout, jobs=jobs, track=_bar)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(_table(content))
    console.print(str(run / FILE), soft_wrap=True, markup=False)


def _bar(verdicts: Iterable[Verdict], total: int) -> Iterable[Verdict]:
    from rich.console import Console
    from rich.progress import track

    return track(verdicts, description="outputs", total=total, console=Console(stderr=True))


def _table(content: Mapping[str, Any]) -> Any:
    """Pass rates with their 95 % intervals, and counts of what did not pass."""
    from rich.table import Table

    cases, origin = content["tests"]["cases"], content["tests"]["from"]
    table = Table("", "edit", "passed", "95 %", "failed", "errors", "timeouts", "no output")
    table.title = f"{cases} cases with a test, of {origin}"
    for dimension, sides in content["pass_rates"].items():
        for side, rate in sides.items():
            count = content["counts"][dimension][side]
            spread = "" if rate["mean"] is None else f"{rate['low']:.2f} to {rate['high']:.2f}"
            mean = "" if rate["mean"] is None else f"{rate['mean']:.2f}"
            numbers = [str(count[name]) for name in ("failed", "error", "timeout", "failed_cases")]
            table.add_row(dimension, side, mean, spread, *numbers)
    return table

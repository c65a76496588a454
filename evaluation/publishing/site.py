"""The files of a leaderboard: a page with its data, Markdown and CSV."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import Table, build_tables
from clmeeval_data.evaluation.report.text import csv_text, markdown


def write_leaderboard(results: Sequence[Path], out: Path) -> list[Table]:
    """Read the runs below the result folders and write index.html, leaderboard.md and leaderboard.csv into ``out``.

    What the page needs besides is in ``out / "leaderboard_files"``. Each file, and that folder, is replaced as a whole.
    Returns the tables that were written.

    Raises:
        ResultsError: If there are no runs, one is damaged, or ``out`` cannot be written.
    """
    from clmeeval_data.evaluation.report.folders import replaced_folder
    from clmeeval_data.evaluation.report.page import FILES, write_page

    runs = load_runs(results)
    try:
        with replaced_folder(out / FILES) as folder, TemporaryDirectory(dir=folder) as spools:
            tables = build_tables(runs, Path(spools))
            html = write_page(tables, folder)
    except OSError as error:
        raise _unwritable(out / FILES, error) from error
    contents = {"leaderboard.md": markdown(tables), "leaderboard.csv": csv_text(tables), "index.html": html}
    for name, content in contents.items():
        _replace(out / name, content)
    return tables


def _replace(path: Path, content: str) -> None:
    """Write a text file, complete or not at all."""
    try:
        with written_aside(path) as aside:
            aside.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ResultsError:
    return ResultsError(f"cannot write {path}: {error.strerror}. Choose an --out that you may write to.")

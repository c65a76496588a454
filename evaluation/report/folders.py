"""A folder that is replaced as a whole."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clmeeval_data.errors import ResultsError

MARK = "made-by-clmeeval-leaderboard"


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A folder beside the given one, which takes its place when the block ends well and vanishes when it does not.

    Raises:
        ResultsError: If there is a folder of that name that was not made here.
        OSError: If a folder cannot be made or moved.
    """
    if path.exists() and not (path / MARK).exists():
        raise ResultsError(
            f"{path} was not made by this command, and is not replaced. Move it away, or choose another --out."
        )
    made = [parent for parent in path.parents if not parent.exists()]
    aside, old = (path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}") for _ in range(2))
    try:
        aside.mkdir(parents=True)
        (aside / MARK).touch()
        yield aside
        _swap(aside, path, old)
        made = []
    finally:
        for folder in (aside, old):
            shutil.rmtree(folder, ignore_errors=True)
        for parent in made:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()


def _swap(new: Path, path: Path, old: Path) -> None:
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise

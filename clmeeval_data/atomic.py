"""Files that appear complete or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside the given one, which takes its place when the block ends well and vanishes when it does not.

    Folders above it are made. Readers see the old file or the new one, never half of it.

    Raises:
        OSError: If the folder cannot be made or the file cannot be moved into place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)

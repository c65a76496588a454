"""Revisions of datasets on the Hub: the commits they stand for, and whether what was loaded is of the one asked for."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

from clmeeval_data.errors import DatasetError

if TYPE_CHECKING:
    from datasets import Dataset

PATIENCE = 10.0  # seconds: a run goes on without what a Hub that does not answer may have
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_on_hub(location: str) -> bool:
    """Whether a location can be an id on the Hub; a folder or file of that name comes first."""
    return _HUB_ID.fullmatch(location) is not None and not Path(location).exists()


def check_revision(location: str, revision: str | None) -> None:
    """Refuse a revision of a folder.

    Raises:
        DatasetError: If there is one.
    """
    if revision is not None and location and Path(location).is_dir():
        raise DatasetError(
            f"revision {revision!r} was asked for, but {location} is a folder here, which is read first and has no "
            "revisions. Leave the revision out, or run from another working directory."
        )


def commit_of(location: str, revision: str | None = None) -> str | None:
    """The commit on the Hub that a revision of a dataset stands for now; None for a folder, and where nobody can say.

    Args:
        location: A dataset folder, or an id on the Hub.
        revision: A branch, tag or commit; None for the newest of the main branch.

    Raises:
        DatasetError: If a revision of a folder is asked for.
    """
    check_revision(location, revision)
    if not is_on_hub(location):
        return None
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(location, revision=revision, timeout=PATIENCE).sha
    except hub_faults():
        return revision if revision is not None and _COMMIT.fullmatch(revision) else None


def check_loaded(dataset: "Dataset", location: str, revision: str) -> None:
    """Refuse what ``datasets`` has loaded if it comes from another commit than that of a revision.

    Where the Hub does not answer, ``datasets`` takes what it loaded last, of whichever revision that was.

    Raises:
        DatasetError: If it does.
    """
    folders = {Path(file["filename"]).parent.name for file in dataset.cache_files}
    held = {name for name in folders if _COMMIT.fullmatch(name)}
    if held and held != {_wanted(location, revision)}:
        raise DatasetError(
            f"revision {revision!r} of {location} cannot be loaded from the Hub, and what was loaded before is of "
            f"commit {min(held)[:12]}. Try again when the Hub can be reached."
        )


def _wanted(location: str, revision: str) -> str | None:
    """The commit of a revision, as the Hub says, or last said."""
    commit = revision if _COMMIT.fullmatch(revision) else commit_of(location, revision)
    if commit is not None:
        return commit
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=location, repo_type="dataset")
    try:
        return (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def hub_faults() -> tuple[type[Exception], ...]:
    """What reaching the Hub raises; the root of what its HTTP library raises is among the bases of its own error."""
    from huggingface_hub.errors import HfHubHTTPError

    return cast("tuple[type[Exception], ...]", (OSError, ValueError, *HfHubHTTPError.__bases__))

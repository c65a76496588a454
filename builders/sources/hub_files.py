"""The files of a corpus that is a dataset repository on the Hugging Face Hub."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from clmeeval_data.builders.sources.location import LocalFile, Location, chosen
from clmeeval_data.errors import SourceError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def hub_files(location: Location, wanted: re.Pattern[str], cache: Path | None, offline: bool) -> tuple[LocalFile, ...]:
    """The files whose names match, in the order of these, all of one commit.

    They are kept in the cache of huggingface_hub, which goes on with a download that broke off. ``HF_HUB_OFFLINE``
    counts as offline.

    Args:
        location: The repository, and the revision of it.
        wanted: Matches the names that are read.
        cache: A cache of its own, instead of that of huggingface_hub.
        offline: Read what is in the cache.

    Raises:
        SourceError: If the repository, the revision or a matching file can't be had.
    """
    from huggingface_hub import constants

    if offline or constants.HF_HUB_OFFLINE:
        return _in_cache(location, wanted, cache)
    return _on_hub(location, wanted, cache)


def _on_hub(location: Location, wanted: re.Pattern[str], cache: Path | None) -> tuple[LocalFile, ...]:
    from huggingface_hub import HfApi, hf_hub_download

    name, revision = location.place, location.revision
    with _one_line(f"{_shown(location)} cannot be read on the Hub"):
        names = [file.rfilename for file in HfApi().dataset_info(name, revision=revision).siblings or ()]
        paths = {
            path: Path(hf_hub_download(name, path, repo_type="dataset", revision=revision, cache_dir=cache))
            for path in chosen(names, wanted, f"{_shown(location)} on the Hub")
        }
    files = tuple(_file(name, path, local, _commit(path, local)) for path, local in paths.items())
    if len({file.revision for file in files}) > 1:
        raise SourceError(f"{_shown(location)} has changed on the Hub while it was read. Run the command again.")
    return files


def _in_cache(location: Location, wanted: re.Pattern[str], cache: Path | None) -> tuple[LocalFile, ...]:
    from huggingface_hub import snapshot_download

    name = location.place
    with _one_line(f"{_shown(location)} is not on this machine, and nothing is downloaded offline"):
        folder = Path(
            snapshot_download(
                name, repo_type="dataset", revision=location.revision, cache_dir=cache, local_files_only=True
            )
        )
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    where = f"the copy of {_shown(location)} on this machine"
    return tuple(_file(name, path, folder / path, folder.name) for path in chosen(names, wanted, where))


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turns what huggingface_hub and the HTTP library behind it raise into one expected error."""
    from huggingface_hub.errors import HfHubHTTPError

    expected = cast("tuple[type[Exception], ...]", (OSError, ValueError, *HfHubHTTPError.__bases__))
    try:
        yield
    except expected as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise SourceError(
            f"{what}: {reason}. Check the id, the revision and the network, or give the path of a copy."
        ) from error


def _file(name: str, path: str, local: Path, commit: str) -> LocalFile:
    stored = local.resolve().name  # a large file is stored under the sha256 that the Hub promises for it
    return LocalFile(local, f"hf://datasets/{name}/{path}", commit, stored if _SHA256.fullmatch(stored) else None)


def _commit(path: str, local: Path) -> str:
    """The commit of a file in the cache, which keeps it in a folder of that name."""
    return local.parts[-len(path.split("/")) - 1]


def _shown(location: Location) -> str:
    return f"{location.place}@{location.revision}" if location.revision else location.place

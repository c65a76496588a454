"""The further configurations of a dataset, in a folder or on the Hub, with what each says about itself."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmeeval_data import storage
from clmeeval_data.errors import DatasetError
from clmeeval_data.hub.revisions import PATIENCE, hub_faults


@dataclass(frozen=True)
class FoundConfiguration:
    """A further configuration of a dataset.

    Attributes:
        location: The dataset's folder, or its id on the Hub.
        name: Of the configuration, e.g. "answers-smollm2".
        commit: The commit on the Hub; "" for a folder.
        manifest: What it says about itself.
    """

    location: str
    name: str
    commit: str
    manifest: dict[str, Any]

    @property
    def origin(self) -> str:
        """Where it was found, for a record: a path below the dataset's folder, or an id with the commit."""
        at = f"@{self.commit[:12]}" if self.commit else ""
        return f"{self.location}{at}/{self.name}"

    def file(self, path: str) -> Path:
        """One of its files on this machine, downloaded where it lies on the Hub.

        Raises:
            DatasetError: If it cannot be had.
        """
        if not self.commit:
            return Path(self.location) / self.name / path
        try:
            return _download(self.location, f"{self.name}/{path}", self.commit)
        except hub_faults() as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise DatasetError(f"{path} of {self.origin} cannot be downloaded: {reason}. Try again later.") from error


def configurations_of(location: str, prefix: str, revision: str | None = None) -> Iterator[FoundConfiguration]:
    """The configurations of a dataset whose names begin with ``prefix``, by name.

    On the Hub this takes one listing and the manifests. Where the Hub cannot be reached, or has no such dataset, there
    are none; a manifest that cannot be read is passed over.

    Args:
        location: A dataset folder, or an id on the Hub; a folder of that name comes first.
        prefix: What the names begin with.
        revision: A branch, tag or commit on the Hub; None for the newest of the main branch.
    """
    if Path(location).is_dir():
        for path in sorted(Path(location).glob(f"{prefix}*/{storage.MANIFEST}")):
            if (manifest := _read(path)) is not None:
                yield FoundConfiguration(location, path.parent.name, "", manifest)
        return
    try:
        commit, names = _listed(location, prefix, revision)
        found = [(name, _read(_download(location, f"{name}/{storage.MANIFEST}", commit))) for name in names]
    except hub_faults():
        return
    yield from (
        FoundConfiguration(location, name, commit, manifest) for name, manifest in found if manifest is not None
    )


def _listed(location: str, prefix: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit of a revision of a dataset on the Hub, and its configurations, told by their manifests."""
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(location, revision=revision, timeout=PATIENCE)
    paths = [item.rfilename for item in info.siblings or ()]
    folders = [path.removesuffix(f"/{storage.MANIFEST}") for path in paths if path.endswith(f"/{storage.MANIFEST}")]
    return str(info.sha), sorted(name for name in folders if name.startswith(prefix) and "/" not in name)


def _download(location: str, path: str, commit: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(location, path, repo_type="dataset", revision=commit))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

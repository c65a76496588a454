"""Where a sequence of edits is: enough to go on from there with the same numbers, in another process too."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from clmeeval_data.errors import EditError, ResultsError
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.results import read_json, write_json


@dataclass(frozen=True)
class SequenceState:
    """A sequence after its first ``done`` requests.

    ``edit``: all edits so far as one. ``parts``: by case id, what its entry has so far (cost, details, right_after,
    checkpoints), as JSON values. ``failed``: by case id, the problem of an edit that was left out.
    """

    done: int
    edit: Edit
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def on_cpu(state: SequenceState) -> SequenceState:
    """The state with its tensors in main memory, so that a process without the device can hold it."""
    return replace(state, edit=replace(state.edit, updates=tuple(map(_moved, state.edit.updates))))


def _moved(value: Any) -> Any:
    """A dataclass with its tensors, at any depth, on the CPU."""
    tensors = {
        one.name: _moved(getattr(value, one.name))
        if is_dataclass(getattr(value, one.name))
        else getattr(value, one.name)
        for one in fields(value)
        if one.init
    }
    return replace(value, **{name: t.cpu() if isinstance(t, Tensor) else t for name, t in tensors.items()})


@dataclass(frozen=True)
class SavedStates:
    """The states of a run's interrupted sequences: a JSON file each that names the file with the edit.

    ``folder``: beside the journal.
    """

    folder: Path

    def save(self, group: int, state: SequenceState) -> None:
        """Put a state in the place of the group's earlier one.

        Raises:
            ResultsError: If it cannot be written.
        """
        edit = self.folder / f"{group:06d}-{state.done}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            state.edit.save(edit)
        except OSError as error:
            raise ResultsError(
                f"cannot write {edit}: {error.strerror or error}. Make room, or choose another folder."
            ) from error
        described = {"done": state.done, "edit": edit.name, "parts": dict(state.parts), "failed": dict(state.failed)}
        write_json(self._described(group), described)
        self._drop_edits(group, but=edit)

    def load(self, group: int) -> SequenceState | None:
        """The state of a group, or None where there is none that can be read: it is only a shortcut."""
        if not self._described(group).exists():
            return None
        try:
            described = read_json(self._described(group))
            edit = Edit.load(self.folder / described["edit"])
            return SequenceState(int(described["done"]), edit, described["parts"], described["failed"])
        except (ResultsError, EditError, KeyError):
            return None

    def drop(self, group: int) -> None:
        """Forget a group that is finished."""
        self._described(group).unlink(missing_ok=True)
        self._drop_edits(group)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _described(self, group: int) -> Path:
        return self.folder / f"{group:06d}.json"

    def _drop_edits(self, group: int, but: Path | None = None) -> None:
        for path in self.folder.glob(f"{group:06d}-*.safetensors"):
            if path != but:
                path.unlink(missing_ok=True)

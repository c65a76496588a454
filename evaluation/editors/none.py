"""No edit at all: the floor that every method has to beat, and the ceiling of specificity."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel


class NoEdit:
    """Leaves the model as it is.

    Source: the row "unedited" that every comparison of editing methods needs.
    """

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "no edit: the floor"
    family: ClassVar[Family] = "floor"
    changes: ClassVar[str] = "nothing"
    needs: ClassVar[str] = "nothing"
    config_class: ClassVar[type[EditorConfig]] = EditorConfig

    def __init__(self, config: EditorConfig) -> None:
        self.config = config

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Nothing to prepare."""

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """An edit without updates."""
        return Edit((), lm.fingerprint, self.name, case_ids=tuple(request.case_id for request in requests))

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """An edit without updates for every request."""
        return [self.edit(lm, [request]) for request in requests]

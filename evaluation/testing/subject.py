"""An editor class under test on one model: what it makes of a few requests, computed once and looked at from all sides.

What is measured here is measured by plain passes over whole texts, and by nothing that editors use.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clmeeval_data.evaluation.editors.contract import Case, Editor, EditRequest
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.model.edit_file import tensors_of
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.training import train_editor

Snapshot = dict[str, Any]


class Subject:
    """An editor class with its settings, on a model.

    Args:
        editor_class: The class.
        values: Its settings.
        lm: The model.
        asked: The cases whose requests are edited.
        train: The cases of the training split.
        folder: For trained files.
    """

    def __init__(
        self,
        editor_class: Any,
        values: Mapping[str, Any],
        lm: LanguageModel,
        asked: Sequence[Case],
        train: Sequence[Case],
        folder: Path,
    ) -> None:
        self.editor_class, self.values, self.lm = editor_class, dict(values), lm
        self.requests = [case.request for case in asked]
        self.train, self.folder = list(train), folder
        self.before = snapshot(lm)

    def made(self, lm: LanguageModel | None = None) -> Editor:
        """A new editor, with its trained file where it needs one."""
        config = self.editor_class.config_class.from_dict(self.values)
        if not getattr(self.editor_class, "needs_training", False):
            editor: Editor = self.editor_class(config)
            return editor
        trained = self._trained if lm is None else self._train(lm)
        with_file: Editor = self.editor_class(config, trained)
        return with_file

    def prepared(self, lm: LanguageModel | None = None) -> Editor:
        """A new editor that is ready to edit; by default on the subject's model."""
        editor = self.made(lm)
        editor.prepare(lm or self.lm, [case.request for case in self.train])
        return editor

    @cached_property
    def editor(self) -> Editor:
        """The editor at work."""
        return self.prepared()

    @cached_property
    def each(self) -> list[Edit]:
        """Independent edits of all requests, computed together."""
        return list(self.editor.edit_each(self.lm, self.requests))

    @cached_property
    def alone(self) -> list[Edit]:
        """The same edits, each computed by itself."""
        return [self.editor.edit_each(self.lm, [request])[0] for request in self.requests]

    @cached_property
    def _trained(self) -> Trained:
        return self._train(self.lm)

    def _train(self, lm: LanguageModel) -> Trained:
        editor = self.editor_class(self.editor_class.config_class.from_dict(self.values))
        found = train_editor(lm, editor, self.train, self.train, self.folder, {"name": "check"})
        return Trained.load(found.path)

    def logits(self, request: EditRequest, edit: Edit | None = None) -> Tensor:
        """What the model says at the tokens that predict the target, shape (target tokens, vocabulary)."""
        prompt, target = self.lm.encode(request.prompt), self.lm.encode_target(request.prompt, request.target)
        ids, last = torch.tensor([prompt + target]), torch.tensor([len(prompt) - 1])
        edit = edit or Edit((), self.lm.fingerprint, "none")
        with torch.no_grad(), edit.applied(self.lm, last):
            said: Tensor = self.lm.model(input_ids=ids, use_cache=False).logits[0]
        return said[-len(target) - 1 : -1].float()

    def loss(self, request: EditRequest, edit: Edit | None = None) -> float:
        """Mean loss of the target's tokens, in nats."""
        target = torch.tensor(self.lm.encode_target(request.prompt, request.target))
        return float(cross_entropy(self.logits(request, edit), target))

    def changes(self) -> list[str]:
        """What is not as it was when the subject was made, in words; nothing where the model was left alone."""
        now = snapshot(self.lm)
        return [f"{what} changed" for what in self.before if not _same(self.before[what], now[what])]


def snapshot(lm: LanguageModel) -> Snapshot:
    """All of a model that an editor might leave changed, by what to call it."""
    modules = list(lm.model.named_modules())
    hooked = [n for n, m in modules if m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m)]
    return {
        **{f"the tensor {name}": tensor.detach().clone() for name, tensor in lm.model.state_dict().items()},
        "the list of modules": [(name, type(module).__qualname__) for name, module in modules],
        "the list of modules with hooks": hooked,
        "which parameters take a gradient": [name for name, p in lm.model.named_parameters() if p.requires_grad],
        "which parameters have a gradient": [name for name, p in lm.model.named_parameters() if p.grad is not None],
        "which modules are in training mode": [name for name, module in modules if module.training],
        "the number of edits in force": lm.edits_applied,
        "what is remembered of prompts": lm.memory,
    }


def difference(one: Edit, other: Edit, tolerance: float) -> str:
    """Where two edits differ by more than a tolerance (relative to the larger of 1 and the tensor's largest number).

    "" where they don't.
    """
    mine, theirs = tensors_of(one.updates), tensors_of(other.updates)
    kinds = [[(type(update).__name__, update.module) for update in edit.updates] for edit in (one, other)]
    if kinds[0] != kinds[1]:
        return f"the updates are {kinds[0]} and {kinds[1]}"
    for name, tensor in mine.items():
        beside = theirs[name].to(tensor.device)
        if tensor.shape != beside.shape:
            return f"tensor {name} has the shapes {tuple(tensor.shape)} and {tuple(beside.shape)}"
        scale = max([1.0, float(beside.abs().max())] if beside.numel() else [1.0])
        apart = float((tensor.double() - beside.double()).abs().max()) / scale if tensor.numel() else 0.0
        if not apart <= tolerance:
            return f"tensor {name} differs by {apart:.2g} of its largest number"
    return ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)

"""The checks, one function each: what an editing method must satisfy, in the order in which it is looked at."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch
from torch import Tensor, nn

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Family, cannot_do
from clmeeval_data.evaluation.model.edit_file import tensors_of
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.testing.settings_file import through_toml
from clmeeval_data.evaluation.testing.subject import Subject, difference

EQUAL = 1e-3  # batches of other shapes round otherwise, and optimisers carry that on
REPEATED = 1e-5  # the same computation twice
FALLS = 0.01  # nats per token: the least that an edit must take off its target's loss
_WORDS = ("name", "summary", "family", "changes", "needs")
_METHODS = ("inputs", "prepare", "edit", "edit_each")


@dataclass(frozen=True)
class Check:
    """One thing that every method must satisfy.

    ``explanation``: what that is, in one line. ``look``: yields a line for each way in which a method fails it.
    ``decides``: whether nothing after it is looked at where it fails.
    """

    name: str
    explanation: str
    look: Callable[[Subject], Iterator[str]]
    decides: bool = False


@dataclass(frozen=True)
class Problem:
    """A check that a method fails on an architecture's model, and how."""

    check: Check
    architecture: str
    detail: str

    def __str__(self) -> str:
        """The problem in one line."""
        detail = " ".join(self.detail.split())
        return f"{self.check.name} ({self.architecture}): {self.check.explanation}; but {detail}"


def members(subject: Subject) -> Iterator[str]:
    """Whether all that the contract names is there."""
    cls = subject.editor_class
    for name in _WORDS:
        value = getattr(cls, name, None)
        if not isinstance(value, str) or not value:
            yield f"{name} is {value!r}"
    if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", str(getattr(cls, "name", ""))):
        yield f"name is {getattr(cls, 'name', None)!r}: expected small letters, digits, and - or _ between them"
    if getattr(cls, "family", None) not in get_args(Family):
        yield f"family is {getattr(cls, 'family', None)!r}: expected one of {', '.join(get_args(Family))}"
    config_class = getattr(cls, "config_class", None)
    if not (isinstance(config_class, type) and issubclass(config_class, EditorConfig)):
        yield f"config_class is {config_class!r}: expected a frozen dataclass derived from EditorConfig"
    yield from (f"it has no method {name}" for name in _METHODS if not callable(getattr(cls, name, None)))


def configuration(subject: Subject) -> Iterator[str]:
    """Whether the settings survive JSON and TOML, and unknown ones are refused."""
    config_class = subject.editor_class.config_class
    config = config_class.from_dict(subject.values)
    again = config_class.from_dict(json.loads(json.dumps(config.as_dict())))
    if again != config:
        yield f"through JSON {config} becomes {again}"
    written = config_class.from_dict(through_toml(config.as_dict()))
    if written != config:
        yield f"through TOML {config} becomes {written}"
    if subject.made().config != config:
        yield f"the editor's config is {subject.made().config}, and it was given {config}"
    try:
        config_class.from_dict({**subject.values, "no_such_setting": 1})
        yield "a setting that does not exist is accepted"
    except ConfigError:
        pass


def inputs(subject: Subject) -> Iterator[str]:
    """Whether a run's identity can be told, before and after the method has prepared."""
    train = [case.request for case in subject.train]
    before = dict(subject.made().inputs(train))
    if json.loads(json.dumps(before)) != before:
        yield f"inputs() is {before}, which JSON does not give back as it was"
    after = dict(subject.editor.inputs(train))
    if after != before:
        yield f"inputs() is {before} before prepare() and {after} after it"


def untouched(subject: Subject) -> Iterator[str]:
    """Whether the model is bit-identical after all that a run does."""
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("prepare()", lambda: subject.editor),
        ("edit_each()", lambda: subject.each),
        ("edit()", lambda: subject.editor.edit(subject.lm, subject.requests[:1])),
        ("the edits were applied", lambda: [subject.loss(*pair) for pair in _pairs(subject)]),
    )
    for name, step in steps:
        step()
        changes = subject.changes()
        if changes:
            more = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
            yield f"after {name} {changes[0]}{more}"
            return


def edit(subject: Subject) -> Iterator[str]:
    """Whether edits say what they are, and hold nothing that a file or a model cannot."""
    config = subject.editor.config.as_dict()
    if len(subject.each) != len(subject.requests):
        yield f"edit_each() of {len(subject.requests)} requests gives {len(subject.each)} edits"
        return
    together = subject.editor.edit(subject.lm, subject.requests[:1])
    for found, request in [*zip(subject.each, subject.requests, strict=True), (together, subject.requests[0])]:
        if found.fingerprint != subject.lm.fingerprint:
            yield f"the fingerprint is {found.fingerprint!r}, and the model's {subject.lm.fingerprint!r}"
        if found.method != subject.editor_class.name:
            yield f"the method is {found.method!r}, and the editor's name {subject.editor_class.name!r}"
        if found.case_ids != (request.case_id,):
            yield f"case_ids is {found.case_ids!r}; expected {(request.case_id,)!r}"
        if found.updates and dict(found.config) != config:
            yield f"its config is {dict(found.config)}, and the editor's {config}"
        odd = {k: v for k, v in found.details.items() if not isinstance(v, int | float) or not math.isfinite(v)}
        if odd:
            yield f"its details have {odd}: expected finite numbers"
        yield from _updates_at_fault(subject, found)


def _updates_at_fault(subject: Subject, found: Edit) -> Iterator[str]:
    places = [(type(update), update.module) for update in found.updates]
    if len(set(places)) < len(places):
        yield "it has two updates of one kind for one module"
    weights = {tensor.untyped_storage().data_ptr() for tensor in subject.lm.model.state_dict().values()}
    for name, tensor in tensors_of(found.updates).items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            yield f"tensor {name} has numbers that are not finite"
        if tensor.requires_grad:
            yield f"tensor {name} still takes a gradient: detach() it"
        if tensor.numel() and tensor.untyped_storage().data_ptr() in weights:
            yield f"tensor {name} shares its memory with a weight of the model: clone() it"


def alone(subject: Subject) -> Iterator[str]:
    """Whether edits that are computed together equal those computed one at a time."""
    for together, single, request in zip(subject.each, subject.alone, subject.requests, strict=True):
        apart = difference(together, single, EQUAL)
        if apart:
            yield f"for {request.case_id} {apart}"
        losses = subject.loss(request, together), subject.loss(request, single)
        if not math.isclose(*losses, rel_tol=EQUAL, abs_tol=EQUAL):
            yield f"for {request.case_id} the target's loss is {losses[0]:.4f} together and {losses[1]:.4f} alone"


def effect(subject: Subject) -> Iterator[str]:
    """Whether the model answers otherwise, and nearer to the target.

    A floor must change nothing; text before the prompt must change something, as a random model follows no example. The
    long target is not looked at: a method that finds one vector can't make a random model say it.
    """
    for found, request in list(zip(subject.each, subject.requests, strict=True))[:-1]:
        yield from _without_effect(subject, request, found)


def _without_effect(subject: Subject, request: EditRequest, found: Edit) -> Iterator[str]:
    before, after = subject.loss(request), subject.loss(request, found)
    differs = not _alike(subject.logits(request), subject.logits(request, found))
    if subject.editor_class.family == "floor":
        if differs:
            yield f"it is a floor, and the answer to {request.case_id} changes"
    elif not differs:
        yield f"the answer to {request.case_id} does not change"
    elif found.preamble is None and not after < before - FALLS:
        yield f"the loss of {request.case_id}'s target goes from {before:.3f} to {after:.3f} nats"


def file(subject: Subject) -> Iterator[str]:
    """Whether an edit that was saved and loaded is the edit."""
    path = subject.folder / "edit.safetensors"
    for found, request in zip(subject.each, subject.requests, strict=True):
        found.save(path)
        loaded = Edit.load(path, subject.lm)
        apart = difference(found, loaded, 0.0)
        if apart:
            yield f"for {request.case_id} {apart}"
        for field in ("method", "case_ids", "config", "details", "first_call_only"):
            values = [json.dumps(getattr(one, field), default=dict) for one in (found, loaded)]
            if values[0] != values[1]:
                yield f"{field} is {values[0]} before and {values[1]} after"
        if not torch.equal(subject.logits(request, found), subject.logits(request, loaded)):
            yield f"the answer to {request.case_id} differs"


def request(subject: Subject) -> Iterator[str]:
    """Whether the method asks for more than prompt and target, or needs the names of cases that it knows.

    A seed may be drawn from a case's name, so another name may give another edit; but one that works as well.
    """
    asked: list[str] = []

    class Watched(EditRequest):
        """A request that writes down what it is asked for and does not have."""

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("__"):
                asked.append(name)
            raise AttributeError(name)

    def watched(plain: EditRequest, name: str | None = None) -> EditRequest:
        values = {field.name: getattr(plain, field.name) for field in fields(plain)}
        return Watched(**{**values, "case_id": name or plain.case_id})

    editor = subject.made()
    editor.prepare(subject.lm, [watched(case.request) for case in subject.train])
    first = subject.requests[0]
    editor.edit_each(subject.lm, [watched(first)])
    editor.edit(subject.lm, [watched(first)])
    if asked:
        yield f"it looked for {', '.join(sorted(set(asked)))}, which an editor may not see"
    renamed = editor.edit_each(subject.lm, [watched(first, "another name")])[0]
    yield from (f"with another case_id {line}" for line in _without_effect(subject, first, renamed))


def memory(subject: Subject) -> Iterator[str]:
    """Whether an edit depends on the edits that were computed before it."""
    editor = subject.prepared()
    first = editor.edit_each(subject.lm, subject.requests[:1])[0]
    editor.edit_each(subject.lm, subject.requests[1:])
    editor.edit(subject.lm, subject.requests[1:2])
    again = editor.edit_each(subject.lm, subject.requests[:1])[0]
    apart = difference(first, again, REPEATED)
    if apart:
        yield f"after other edits {apart}"


def seed(subject: Subject) -> Iterator[str]:
    """Whether the same settings give the same edit, whatever others have drawn from the global generators."""
    import random

    import numpy as np

    states = random.getstate(), np.random.get_state()

    def computed(number: int) -> Edit:
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        return subject.prepared().edit_each(subject.lm, subject.requests[:1])[0]

    try:
        with torch.random.fork_rng(devices=[]):
            apart = difference(computed(1), computed(2), REPEATED)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    if apart:
        yield f"computed twice {apart}"


def several(subject: Subject) -> Iterator[str]:
    """Whether a method can do the protocols batch and sequential, unless it says that it cannot."""
    cls, first, last = subject.editor_class, *subject.requests[:2]
    wanted, earlier = (first.case_id, last.case_id), subject.each[0]
    for protocol in ("batch", "sequential"):
        reason = cannot_do(cls, protocol)
        if reason is not None and not (isinstance(reason, str) and reason):
            yield f"cannot[{protocol!r}] is {reason!r}: expected why, in words"
    if cannot_do(cls, "batch") is None:
        together = subject.editor.edit(subject.lm, [first, last])
        if together.case_ids != wanted:
            yield f"one edit of {wanted} has the case_ids {together.case_ids}"
        # a method that edits one after another may undo an earlier one, so the last one is looked at
        yield from (f"under one edit of two {line}" for line in _without_effect(subject, last, together))
    if cannot_do(cls, "sequential") is None:
        with earlier.applied(subject.lm):
            later = subject.editor.edit(subject.lm, [last])
        both = earlier + later
        if both.case_ids != wanted:
            yield f"two edits one after another, {wanted}, have the case_ids {both.case_ids}"
        if cls.family != "floor" and _alike(subject.logits(last, earlier), subject.logits(last, both)):
            yield f"on a model that is already edited, an edit does not change the answer to {last.case_id}"


def exception(subject: Subject) -> Iterator[str]:
    """Whether the model is bit-identical after a failure in the middle of an edit."""
    passes = _passes(subject, last=0)
    for last in sorted({1, (passes + 1) // 2, passes}) if passes else []:
        try:
            _passes(subject, last)
            yield f"a failure in pass {last} of {passes} was swallowed"
        except InjectedError:
            pass
        changes = subject.changes()
        if changes:
            yield f"after a failure in pass {last} of {passes} {changes[0]}"
            return


class InjectedError(RuntimeError):
    """Raised in the middle of a model's pass."""


def _passes(subject: Subject, last: int) -> int:
    """Edit one request; how often the last decoder layer ran. It fails in pass ``last``, if there is one."""
    count = 0

    def watch(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal count
        count += 1
        if count == last:
            raise InjectedError("a failure for the sake of the check")

    handle = subject.lm.layer_modules[-1].register_forward_pre_hook(watch)
    try:
        subject.editor.edit_each(subject.lm, subject.requests[:1])
    finally:
        handle.remove()
    return count


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two answers differ by no more than rounding."""
    return torch.allclose(one, other, rtol=0, atol=REPEATED * max(1.0, float(one.abs().max())))


def _pairs(subject: Subject) -> list[tuple[EditRequest, Edit]]:
    found = zip(subject.requests, subject.each, strict=False)
    return [(request, edit) for request, edit in found if edit.fingerprint == subject.lm.fingerprint]


CHECKS = (
    Check("members", "a method has all that contract.Editor names", members, decides=True),
    Check("configuration", "its settings come back from JSON and TOML as they were", configuration, decides=True),
    Check("inputs", "what it depends on besides its settings is JSON, and does not change", inputs),
    Check("untouched", "the model is bit-identical after editing, with nothing left in it", untouched, decides=True),
    Check("edit", "an edit names its model, method and cases, and its tensors are its own", edit, decides=True),
    Check("seed", "the same settings give the same edit; randomness has a seed of its own", seed),
    Check("memory", "an edit does not depend on earlier edits", memory),
    Check("alone", "independent edits computed together equal those computed one at a time", alone),
    Check("effect", "the edited model answers otherwise, and the target's loss falls", effect),
    Check("file", "an edit that was saved and loaded gives the same answers", file),
    Check("request", "nothing but prompt and target of a request makes an edit", request),
    Check("several", "one edit holds several requests, and edits follow one another, or cannot says why not", several),
    Check("exception", "the model is bit-identical after a failure in the middle of an edit", exception),
)
"""All checks, in the order in which they are looked at."""

"""A wrong editor for every check: each differs in one thing from a right one, and is caught by the check it is for."""

import importlib.util
import re
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from clmeeval_data.errors import ModelError
from clmeeval_data.evaluation.editors.contract import EditorConfig
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.updates import Dense, LowRank
from clmeeval_data.evaluation.testing import CHECKS, CheckError, check_editor, find_problems, tiny_model

STEPS = {"steps": 6}


@pytest.fixture(scope="module")
def nudge(root, tmp_path_factory):
    """The right one, from docs/own-method.md."""
    code = re.search(r"```python\n# clmeeval_nudge.py\n(.*?)```", (root / "docs/own-method.md").read_text(), re.S)
    path = tmp_path_factory.mktemp("own") / "nudge_of_the_docs.py"
    path.write_text(code.group(1))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module.Nudge
    del sys.modules[path.stem]


def failed(editor_class, config=STEPS, **options):
    return {problem.check.name for problem in find_problems(editor_class, config, **options)}


def test_the_right_editor_passes_on_every_architecture(nudge):
    assert find_problems(nudge, architectures=["llama", "gpt2", "qwen2"]) == []


def each(change):
    """A wrong editor whose edits are those of the right one, changed."""
    return lambda base: {"edit_each": lambda self, lm, requests: [
        change(found, lm) for found in base.edit_each(self, lm, requests)]}  # fmt: skip


def first(found):
    return found.updates[0]


def scaled(update, factor):
    return replace(update, left=update.left * factor)


@dataclass(frozen=True)
class Forgetful(EditorConfig):
    steps: int = 5
    depth: float = 0.5
    learning_rate: float = 0.5

    def as_dict(self):
        return {"depth": self.depth}


@dataclass(frozen=True)
class Lenient(EditorConfig):
    steps: int = 6
    depth: float = 0.5
    learning_rate: float = 0.5

    @classmethod
    def from_dict(cls, values):
        return cls(**{name: value for name, value in values.items() if name in cls.__dataclass_fields__})


class Halved(Edit):
    """An edit that leaves half of itself out of its file."""

    def save(self, path):
        Edit(tuple(scaled(update, 0.5) for update in self.updates), *list(vars(self).values())[1:]).save(path)


def writes_weights(base):
    def edit_each(self, lm, requests):
        found = base.edit_each(self, lm, requests)
        lm.mlp_output(0).weight.data[0, 0] += 1e-6
        return found

    return {"edit_each": edit_each}


def leaves(action):
    def wrong(base):
        def edit(self, lm, requests):
            action(lm)
            return base.edit(self, lm, requests)

        return {"edit": edit}

    return wrong


def divides(base):
    def edit_each(self, lm, requests):
        found = base.edit_each(self, lm, requests)
        return [replace(one, updates=(scaled(first(one), 1 / len(requests)),)) for one in found]

    return {"edit_each": edit_each}


def remembers(base):
    def edit_each(self, lm, requests):
        found = base.edit_each(self, lm, requests)
        self.kept = [*getattr(self, "kept", []), *found]
        return [replace(one, updates=(scaled(first(one), 1 + len(self.kept) / 100),)) for one in found]

    return {"edit_each": edit_each}


def draws(base):
    def edit_each(self, lm, requests):
        noise = 1 + torch.rand(1).item() / 10
        return [replace(one, updates=(scaled(first(one), noise),)) for one in base.edit_each(self, lm, requests)]

    return {"edit_each": edit_each}


def peeks(base):
    def edit_each(self, lm, requests):
        [getattr(request, "rephrased_prompt", request.prompt) for request in requests]
        return base.edit_each(self, lm, requests)

    return {"edit_each": edit_each}


def knows_the_cases(base):
    def edit_each(self, lm, requests):
        pairs = zip(requests, base.edit_each(self, lm, requests), strict=True)
        return [e if r.case_id.startswith("case") else replace(e, updates=(scaled(first(e), 0),)) for r, e in pairs]

    return {"edit_each": edit_each}


def edits_in_place(base):
    """Restores the weight at the end, but not after a failure."""

    def edit_each(self, lm, requests):
        weight = lm.mlp_output(0).weight.data
        kept = weight.clone()
        weight += 1e-3
        found = base.edit_each(self, lm, requests)
        weight.copy_(kept)
        return found

    return {"edit_each": edit_each}


def swallows(base):
    def edit_each(self, lm, requests):
        try:
            return base.edit_each(self, lm, requests)
        except RuntimeError:
            return []

    return {"edit_each": edit_each}


def after_others(self, lm, requests):
    """Does nothing on a model that is already edited."""
    found = super(type(self), self).edit(lm, requests)
    return replace(found, updates=(scaled(first(found), 0),)) if lm.edits_applied else found


def of_the_weight(lm):
    return Dense(lm.map.mlp_output_name(1), lm.mlp_output(1).weight.data)


def inputs(value):
    return lambda base: {"inputs": lambda self, train: value(self)}


def counts(self):
    self.asked = getattr(self, "asked", 0) + 1
    return {"corpus": ("a", "b")}


WRONG = {
    "members: no summary": lambda base: {"summary": ""},
    "members: a family of its own": lambda base: {"family": "magic"},
    "members: a name with a capital": lambda base: {"name": "Nudge"},
    "members: no edit_each": lambda base: {"edit_each": None},
    "members: settings that are a dict": lambda base: {"config_class": dict},
    "configuration: a setting that is lost": lambda base: {"config_class": Forgetful},
    "configuration: unknown settings are accepted": lambda base: {"config_class": Lenient},
    "configuration: others than it was given": lambda base: {
        "__init__": lambda self, config: setattr(self, "config", replace(config, steps=config.steps + 1))
    },
    "inputs: a tuple, which JSON does not know": inputs(counts),
    "inputs: known only after prepare": lambda base: {
        "prepare": lambda self, lm, train, track=None: setattr(self, "digest", "ab"),
        "inputs": lambda self, train: {"digest": getattr(self, "digest", "")},
    },
    "untouched: writes into a weight": writes_weights,
    "untouched: leaves a hook": leaves(lambda lm: lm.mlp_output(0).register_forward_hook(lambda *rest: None)),
    "untouched: leaves gradients on": leaves(lambda lm: lm.model.requires_grad_(True)),
    "untouched: leaves training mode on": leaves(lambda lm: lm.model.train()),
    "untouched: leaves something remembered": leaves(lambda lm: setattr(lm, "memory", SimpleNamespace())),
    "edit: another model's fingerprint": each(lambda found, lm: replace(found, fingerprint="0" * 16)),
    "edit: another method": each(lambda found, lm: replace(found, method="rome")),
    "edit: no case": each(lambda found, lm: replace(found, case_ids=())),
    "edit: no settings": each(lambda found, lm: replace(found, config={})),
    "edit: a detail that is no number": each(lambda found, lm: replace(found, details={"loss": float("nan")})),
    "edit: a tensor that takes a gradient": each(
        lambda found, lm: replace(found, updates=(replace(first(found), left=first(found).left.requires_grad_(True)),))
    ),
    "edit: a weight of the model": each(lambda found, lm: replace(found, updates=(of_the_weight(lm),))),
    "edit: numbers that are not finite": each(
        lambda found, lm: replace(found, updates=(scaled(first(found), float("nan")),))
    ),
    "edit: two updates of one kind": each(lambda found, lm: replace(found, updates=(first(found),) * 2)),
    "edit: fewer than requests": lambda base: {"edit_each": lambda self, lm, rs: base.edit_each(self, lm, rs[:1])},
    "alone: shares its step among the requests": divides,
    "effect: away from the target": each(lambda found, lm: replace(found, updates=(scaled(first(found), -1),))),
    "effect: nothing": each(lambda found, lm: replace(found, updates=(scaled(first(found), 0),))),
    "effect: a floor that edits": lambda base: {"family": "floor"},
    "file: leaves half out": each(lambda found, lm: Halved(**vars(found))),
    "request: looks for the rephrased prompt": peeks,
    "request: works for the cases that it knows": knows_the_cases,
    "memory: grows with every edit": remembers,
    "seed: draws from the global generator": draws,
    "several: holds the first request alone": lambda base: {
        "edit": lambda self, lm, rs: replace(
            base.edit(self, lm, rs[:1]), case_ids=tuple(request.case_id for request in rs)
        )
    },
    "several: names the first request alone": lambda base: {
        "edit": lambda self, lm, rs: replace(base.edit(self, lm, rs), case_ids=(rs[0].case_id,))
    },
    "several: cannot, and says nothing": lambda base: {"cannot": {"sequential": ""}},
    "several: gives up on an edited model": lambda base: {"edit": after_others},
    "exception: restores nothing after a failure": edits_in_place,
    "exception: swallows the failure": swallows,
}  # fmt: skip


def wrong_editor(nudge, name):
    return type("Wrong", (nudge,), WRONG[name](nudge))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_editor_is_caught_by_its_check(nudge, name):
    check = name.partition(":")[0]
    problems = find_problems(wrong_editor(nudge, name), STEPS, architectures=["llama"])
    assert check in {problem.check.name for problem in problems}, problems
    assert problems[0].check.name == check, "another check comes first"


def test_every_check_has_a_wrong_editor_and_an_explanation():
    assert {name.partition(":")[0] for name in WRONG} == {check.name for check in CHECKS}
    assert all(check.explanation and "\n" not in check.explanation for check in CHECKS)


def test_the_docs_list_the_checks(root):
    rows = [f"| `{check.name}` | {check.explanation} |" for check in CHECKS]
    assert "\n".join(rows) in (root / "docs/own-method.md").read_text()


def test_the_message_names_the_check_what_it_is_about_and_what_was_found(nudge):
    wrong = wrong_editor(nudge, "untouched: writes into a weight")
    with pytest.raises(CheckError) as caught:
        check_editor(wrong, STEPS, architectures=["llama"])
    line = str(caught.value).splitlines()[1]
    assert line == (
        "  untouched (llama): the model is bit-identical after editing, with nothing left in it; "
        "but after edit_each() the tensor model.layers.0.mlp.down_proj.weight changed"
    )


def refuses(depth):
    def prepare(self, lm, train, track=None):
        if lm.name in depth:
            raise ModelError(f"{lm.name} is not for this method.")

    return lambda base: {"prepare": prepare}


def test_an_architecture_may_be_refused_unless_it_is_the_first(nudge):
    second = type("Refuses", (nudge,), refuses({"tiny-gpt2"})(nudge))
    assert failed(second) == set()
    (problem,) = find_problems(type("Refuses", (nudge,), refuses({"tiny-llama"})(nudge)), STEPS)
    assert "refuses the model: tiny-llama is not for this method" in str(problem)


def test_what_a_method_raises_is_a_problem_and_no_crash(nudge):
    def prepare(self, lm, train, track=None):
        raise KeyError("corpus")

    found = find_problems(type("Raises", (nudge,), {"prepare": prepare}), STEPS)
    assert [problem.check.name for problem in found][:1] == ["inputs"]
    assert "it raised KeyError: 'corpus'" in str(found[0])


def test_a_method_may_say_what_it_cannot_do(nudge):
    members = {"cannot": {"batch": "no", "sequential": "no"}, "edit": lambda self, lm, requests: self.refuse(requests)}

    def refuse(self, requests):
        assert len(requests) == 1, "asked for a batch"
        return self.edit_each(tiny, requests)[0]

    tiny = tiny_model()
    assert failed(type("Single", (nudge,), {**members, "refuse": refuse}), architectures=["llama"]) == set()


def test_checking_leaves_nothing_behind(nudge, tmp_path, monkeypatch):
    monkeypatch.setenv("CLMEEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    state = torch.random.get_rng_state()
    check_editor(nudge, STEPS)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_tiny_model_is_the_same_for_the_same_seed():
    assert tiny_model("gpt2").fingerprint == tiny_model("gpt2").fingerprint != tiny_model("gpt2", 1).fingerprint


def test_an_edit_of_a_wrong_shape_is_a_problem(nudge):
    wrong = each(lambda found, lm: replace(found, updates=(LowRank(first(found).module, *[torch.ones(2, 2)] * 2),)))
    assert "it raised" in str(find_problems(type("Wrong", (nudge,), wrong(nudge)), STEPS)[0])

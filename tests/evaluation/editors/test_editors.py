"""One suite for all registered methods on all tiny architectures; a new method needs a line in SETTINGS.

What a method does to an architecture's model is computed once, in ``Results``, and looked at from several sides.
"""

import copy
import inspect
from functools import cached_property

import pytest
import torch

from clmeeval_data.errors import EditError, ModelError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Case, EditRequest
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import read_prompts
from clmeeval_data.evaluation.training import train_editor

VALUE = {"layer": 2, "learning_rate": 0.5, "steps": 25, "start": "zero", "stop_loss": 0.02}
VECTOR = {"learning_rate": 0.5, "steps": 30, "contexts": 1, "stop_loss": 0.02, "clamp": 100.0, "decay": 0.0,
          "kl_factor": 0.0}  # fmt: skip
SPREAD = {**VECTOR, "layers": (2, 3), "weight": 0.01, "tokens": 1000}
SETTINGS = {  # what each method needs to fit a target on a tiny model
    "none": {},
    "ft": {"layer": 2, "learning_rate": 0.05, "clamp": 1.0, "steps": 25},
    "grace": VALUE,
    "rome": {"layer": 1, **VECTOR},
    "memit": SPREAD,
    "pmet": {**SPREAD, "attention_clamp": 0.01},
    "alphaedit": {**SPREAD, "threshold": 1e9},
    "malmen": {"layers": (3,), "rank": 8, "eta": 0.05, "eta_learning_rate": 0.05, "learning_rate": 3e-3, "steps": 10,
               "locality": 0.1, "kept_tokens": 2, "together": False},
    "agrace": {**VALUE, "encoder_epochs": 4, "encoder_learning_rate": 0.01, "encoder_width": 32, "embedding": 16},
    "ultraedit": {"layers": (3,), "eta": 0.5, "samples": 16},
    "lora": {"layers": (1, 2), "rank": 4, "learning_rate": 0.08, "steps": 15, "stop_loss": 0.02},
    "incontext": {},
}  # fmt: skip
UNDOES = {"rome"}  # edits one request after another: a later one may undo an earlier one
READS = {"incontext"}  # needs a model that follows examples: proven on texts, in test_incontext.py
INJECTS = {"lora"}  # puts modules into the model, which have to find the weights in their place
TEN = 10


class Results:
    """A method at work on a model that knows ten answers: requests for other answers, and two with long targets."""

    def __init__(self, method, lm, known, rows, folder):
        self.method, self.lm, self.known, self.rows, self.folder = method, lm, known, rows, folder
        wanted = [answer for _, answer in known[1:] + known[:1]]
        self.short = [EditRequest(str(i), known[i][0], wanted[i]) for i in range(TEN)]
        self.long = [
            EditRequest(f"long-{i}", f"Intent: {rows[i]['intent']}\nCode:", rows[i]["snippet"]) for i in (50, 61)
        ]
        self.before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
        self.modules = [(name, type(module)) for name, module in lm.model.named_modules()]

    def prepared(self, run="first", lm=None, **changes):
        """An editor that is ready to edit; ``run``: a name under which nothing was kept before."""
        lm, cls = lm or self.lm, EDITORS[self.method]
        config, folder = cls.config_class.from_dict({**SETTINGS[self.method], **changes}), self.folder / run
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLMEEVAL_CACHE", str(folder))
            editor = cls(config)
            if getattr(cls, "needs_training", False):
                result = train_editor(lm, editor, self.cases, self.cases, folder, {"name": "cnle"})
                editor = cls(config, Trained.load(result.path))
            editor.prepare(lm, [case.request for case in self.cases])
        return editor

    @cached_property
    def cases(self):
        """Sixteen cases to train on: other prompts, answers that are known."""
        asked, said = (
            [f"Intent: {row[field]}\nCode:" for row in self.rows[20:38]] for field in ("intent", "rewritten_intent")
        )
        return [
            Case(f"train-{i:02}", asked[i], said[i], self.known[i % TEN][1], tuple(asked[i + 1 : i + 3]))
            for i in range(16)
        ]

    @cached_property
    def editor(self):
        return self.prepared()

    @cached_property
    def batch(self):
        """Independent edits, computed together."""
        return self.editor.edit_each(self.lm, self.short + self.long)

    @cached_property
    def alone(self):
        """Index of a request -> its edit, computed by itself."""
        return {i: self.editor.edit_each(self.lm, [(self.short + self.long)[i]])[0] for i in (0, 10, 11)}

    @cached_property
    def together(self):
        """One edit that holds two requests."""
        return self.editor.edit(self.lm, self.short[:2])

    @cached_property
    def outputs(self):
        return answers(self.lm, self.short + self.long, self.batch)

    def untouched(self):
        """Whether the model is what it was, bit for bit, and nothing is left in it."""
        model = self.lm.model
        return (
            all(torch.equal(tensor, self.before[name]) for name, tensor in model.state_dict().items())
            and self.modules == [(name, type(module)) for name, module in model.named_modules()]
            and not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())
            and not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
            and not any(module.training for module in model.modules())
            and self.lm.edits_applied == 0
        )


def answers(lm, requests, edits):
    """What the model says to every request's prompt under its own edit, or under the only one."""
    lengths = [len(lm.encode_target(request.prompt, request.target)) for request in requests]
    jobs = [Continuation(row, min(row, len(edits) - 1), length) for row, length in enumerate(lengths)]
    return generate(lm, read_prompts(lm, [request.prompt for request in requests]), edits, jobs)


def tensors_of(edit):
    return [value for update in edit.updates for value in vars(update).values() if isinstance(value, torch.Tensor)]


@pytest.fixture(params=list(EDITORS))
def method(request):
    return request.param


@pytest.fixture(scope="module")
def results_of(overfit, ten_answers, sample_rows, tmp_path_factory):
    made = {}

    def results(method, architecture):
        if (method, architecture) not in made:
            folder = tmp_path_factory.mktemp(f"{method}-{architecture}")
            made[method, architecture] = Results(method, overfit(architecture), ten_answers, sample_rows, folder)
        return made[method, architecture]

    return results


@pytest.fixture
def results(results_of, method, architecture):
    return results_of(method, architecture)


def test_every_method_has_settings_here():
    assert set(SETTINGS) == set(EDITORS)


def test_a_method_names_its_source(method):
    assert "Source:" in inspect.getdoc(EDITORS[method])
    assert EDITORS[method].name == method
    assert EDITORS[method].summary


def test_configurations_round_trip_through_json(method):
    config = EDITORS[method].config_class.from_dict(SETTINGS[method])
    assert type(config).from_dict(config.as_dict()) == config


def test_a_layer_that_does_not_exist_is_named(results_of, method):
    results = results_of(method, "llama")
    place = {"layer": 99} if "layer" in SETTINGS[method] else {"layers": (1, 99)}
    if set(place) - set(SETTINGS[method]):
        pytest.skip("has no layer")
    with pytest.raises(ModelError, match=r"layer 99 does not exist: the model has layers 0 to 3"):
        results.prepared("none such", **place)


def test_the_model_is_bit_identical_after_editing(results):
    assert results.editor.name == results.method
    assert results.batch
    assert results.alone
    assert results.together
    assert results.outputs
    assert results.untouched()


def test_the_model_is_bit_identical_after_an_exception(results):
    editor, lm, passes = results.editor, results.lm, []
    module = lm.layer_modules[-1]
    handle = module.register_forward_pre_hook(lambda module, args: passes.append(1))
    editor.edit_each(lm, results.short[:1])
    handle.remove()
    if not passes:
        pytest.skip("runs nothing that could fail")
    for last in {1, (len(passes) + 1) // 2}:
        passes.clear()

        def fails(module, args, last=last):
            passes.append(1)
            if len(passes) == last:
                raise RuntimeError("out of memory")

        handle = module.register_forward_pre_hook(fails)
        with pytest.raises(RuntimeError, match="out of memory"):
            editor.edit_each(lm, results.short[:1])
        handle.remove()
        assert results.untouched()


def test_a_batch_of_edits_equals_one_at_a_time(results):
    requests = results.short + results.long
    for row, alone in results.alone.items():
        assert results.batch[row].case_ids == alone.case_ids == (requests[row].case_id,)
        for mine, theirs in zip(tensors_of(results.batch[row]), tensors_of(alone), strict=True):
            scale = max(1.0, float(theirs.abs().max()))
            torch.testing.assert_close(mine / scale, theirs / scale, atol=1e-3, rtol=0)
        assert results.outputs[row] == answers(results.lm, [requests[row]], [alone])[0]


def test_the_same_seed_gives_the_same_edit(results):
    again = results.prepared("second").edit_each(results.lm, results.short[:1])[0]
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(again), tensors_of(results.alone[0]), strict=True))


def test_an_edit_survives_its_file(results, tmp_path):
    for edit, request in zip(results.batch[-2:], results.long, strict=True):
        edit.save(tmp_path / "edit.safetensors")
        loaded = Edit.load(tmp_path / "edit.safetensors", results.lm)
        assert all(torch.equal(a, b) for a, b in zip(tensors_of(edit), tensors_of(loaded), strict=True))
        assert answers(results.lm, [request], [loaded]) == answers(results.lm, [request], [edit])


def test_a_weight_edit_answers_the_same_when_merged(results):
    edit, lm = results.together, results.lm
    copied = LanguageModel(copy.deepcopy(lm.model), lm.tokenizer, lm.name)
    if edit.updates and not edit.changes_weights:
        with pytest.raises(EditError, match="cannot be merged"):
            edit.merge(copied)
        return
    edit.merge(copied)
    unedited = Edit((), copied.fingerprint, "none")
    assert answers(copied, results.short, [unedited]) == answers(lm, results.short, [edit])


def test_effectiveness_rises_on_a_model_that_knows_other_answers(results):
    if results.method in READS:
        pytest.skip("needs a model that follows examples")
    outputs = [results.lm.decode(ids) for ids in results.outputs[:TEN]]
    right = sum(output == request.target for output, request in zip(outputs, results.short, strict=True))
    if results.method == "none":
        assert outputs == [answer for _, answer in results.known], "the model does not know its answers"
        assert right == 0
    else:
        assert right >= 8, list(zip(outputs, (request.target for request in results.short), strict=True))


def test_one_edit_holds_several_requests(results):
    assert results.together.case_ids == ("0", "1")
    if results.method in {"none", *READS}:
        pytest.skip("changes no answer of this model")
    outputs = [results.lm.decode(ids) for ids in answers(results.lm, results.short[:2], [results.together])]
    held = [output == request.target for output, request in zip(outputs, results.short[:2], strict=True)]
    assert held[1]
    assert held[0] or results.method in UNDOES


# --- other precisions, and weights that are elsewhere: on one architecture --------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_method_works_in_half_precision(results_of, method, dtype):
    results = results_of(method, "llama")
    half = LanguageModel(copy.deepcopy(results.lm.model).to(dtype), results.lm.tokenizer, "half")
    requests = results.short[:4] + results.long[:1]
    edits = results.prepared(str(dtype), half).edit_each(half, requests)
    for edit, request in zip(edits, requests, strict=True):
        assert all(tensor.dtype in {torch.float32, torch.long} for tensor in tensors_of(edit)), "made in half precision"
        assert all(tensor.isfinite().all() for tensor in tensors_of(edit))
        with torch.no_grad(), edit.applied(half):
            logits = half.model(input_ids=torch.tensor([half.encode(request.prompt)])).logits
        assert logits.dtype == dtype
        assert logits.isfinite().all()
    if method not in {"none", *READS}:
        outputs = [half.decode(ids) for ids in answers(half, requests[:4], edits[:4])]
        assert sum(output == request.target for output, request in zip(outputs, requests[:4], strict=True)) >= 3


def test_a_model_whose_weights_are_offloaded_is_edited_alike(results_of, method):
    accelerate = pytest.importorskip("accelerate")
    results = results_of(method, "llama")
    model = accelerate.cpu_offload(copy.deepcopy(results.lm.model), execution_device=torch.device("cpu"))
    lm = LanguageModel(model, results.lm.tokenizer, results.lm.name)
    if method in INJECTS:
        with pytest.raises(ModelError, match="is offloaded"):
            results.editor.edit_each(lm, results.short[:1])
        return
    edit = results.editor.edit_each(lm, results.short[:1])[0]
    for mine, theirs in zip(tensors_of(edit), tensors_of(results.alone[0]), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4 * max(1.0, float(theirs.abs().max())), rtol=0)
    assert answers(lm, results.short[:1], [edit]) == answers(results.lm, results.short[:1], [results.alone[0]])

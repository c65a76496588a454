"""What several methods are tested with: slow and plain truths, trained files, and the cases of the trained methods."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from clmeeval_data.evaluation.editors.agrace import AGrace, AGraceConfig
from clmeeval_data.evaluation.editors.contract import Case, EditRequest
from clmeeval_data.evaluation.editors.malmen import MalmenConfig
from clmeeval_data.evaluation.editors.trained import Trained
from clmeeval_data.evaluation.training import train_editor

GRACE = {"layer": 2, "learning_rate": 0.3, "steps": 60, "start": "zero", "stop_loss": 0.005}
ENCODER = {"encoder_learning_rate": 0.01, "encoder_decay": 0.0, "encoder_width": 64, "embedding": 32, "dropout": 0.0,
           "encoder_batch": 30, "encoder_patience": 100}  # fmt: skip
MALMEN = {"layers": (1, 2), "rank": 6, "eta": 0.02, "eta_learning_rate": 0.01, "learning_rate": 1e-3, "kept_tokens": 3}


def prompts_of(rows, field):
    return [f"Intent: {row[field]}\nCode:" for row in rows]


# --- any method -------------------------------------------------------------------------------------------------------


@pytest.fixture
def untouched(lm):
    """A function that tells whether the model is what it was when the test began, with nothing left in it."""
    model, before = lm.model, {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}

    def check():
        same = all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        hooked = any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())
        graphs = any(p.requires_grad or p.grad is not None for p in model.parameters())
        return same and not hooked and not graphs and lm.edits_applied == 0

    return check


@pytest.fixture(scope="session")
def plain_signals():
    """A function that takes keys, gradients and loss from one pass of a request's whole text, all layers, all tokens.

    Keys have the shape (layers, n, f) and gradients (layers, n, d), at the n tokens that predict the target.
    """

    def read(lm, request, layers):
        target = lm.encode_target(request.prompt, request.target)
        ids = torch.tensor([lm.encode(request.prompt) + target])
        keys, outputs, handles = [], [], []
        for layer in layers:

            def keep(module, args, output, first=layer == layers[0]):
                output = output.detach().requires_grad_(True) if first else output
                keys.append(args[0].detach())
                outputs.append(output)
                return output

            handles.append(lm.mlp_output(layer).register_forward_hook(keep))
        logits = lm.model(input_ids=ids, use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        where = slice(-len(target) - 1, -1)
        loss = cross_entropy(logits[where], ids[0, -len(target) :])
        slopes = torch.autograd.grad(loss, outputs)
        assert all(not slope[0, -1].any() for slope in slopes)  # the last target token predicts nothing that is scored
        near, steep = (torch.stack([one[0, where] for one in found]) for found in (keys, slopes))
        return near, steep, float(loss.detach())

    return read


@pytest.fixture(scope="session")
def trained_file():
    """A function that makes an editor's trained file from what a trainer holds: without one, from the first tensors."""

    def make(lm, editor, trainer=None):
        state = (trainer or editor.trainer(lm)).parameters.state_dict()
        return Trained(editor.name, editor.config.as_dict(), lm.fingerprint, lm.name, {}, state)

    return make


# --- A-GRACE ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def agrace_config():
    """A function that makes settings with which an encoder learns within a second."""

    def make(**changes):
        return AGraceConfig.from_dict({**GRACE, **ENCODER, **changes})

    return make


@pytest.fixture(scope="session")
def agrace_cases(sample_rows):
    """Twenty cases; neighbours are the prompts of two others."""
    asked, rephrased = (prompts_of(sample_rows, field) for field in ("intent", "rewritten_intent"))
    return [
        Case(f"case{i:02}", asked[i], rephrased[i], "x", (asked[(i + 1) % 20], asked[(i + 7) % 20])) for i in range(20)
    ]


@pytest.fixture(scope="session")
def known(overfitted):
    """The model that knows answers, and the requests for other ones."""
    lm, pairs = overfitted
    answers = [answer for _, answer in pairs[1:] + pairs[:1]]
    return lm, [
        EditRequest(str(i), prompt, new) for i, ((prompt, _), new) in enumerate(zip(pairs, answers, strict=True))
    ]


@pytest.fixture(scope="session")
def agrace_trained(known, agrace_cases, agrace_config, tmp_path_factory):
    """An encoder trained for a second. What is tested is whether it learns, so the training cases select it."""
    out, editor = tmp_path_factory.mktemp("trained"), AGrace(agrace_config())
    return Trained.load(train_editor(known[0], editor, agrace_cases, agrace_cases, out, {"name": "cnle"}).path)


@pytest.fixture(scope="session")
def plain_query():
    """A function that makes the query of a prompt from a plain pass: the mean over its tokens, then the formula."""

    def encode(encoder, lm, prompt, layer=2):
        seen = []
        handle = lm.mlp_output(layer).register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([lm.encode(prompt)]))
        handle.remove()
        hidden = encoder["first.weight"] @ seen[0][0].mean(0) + encoder["first.bias"]
        return encoder["second.weight"] @ torch.where(hidden > 0, hidden, 0.5 * hidden) + encoder["second.bias"]

    return encode


# --- MALMEN -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def malmen_config():
    """A function that makes settings of a small network."""

    def make(**changes):
        return MalmenConfig(**{**MALMEN, **changes})

    return make


@pytest.fixture(scope="session")
def malmen_cases(sample_rows):
    """Seven cases of different lengths, with two neighbours, or one, or none."""
    rows = sorted(sample_rows, key=lambda row: len(row["snippet"]))[2::40]
    asked, rephrased = (prompts_of(rows, field) for field in ("intent", "rewritten_intent"))
    near = [sample_rows[50 + i : 52 + i + (-i % 3)][: 2 - i % 3] for i in range(len(rows))]
    return [
        Case(f"case-{i}", asked[i], rephrased[i], row["snippet"], tuple(prompts_of(near[i], "intent")))
        for i, row in enumerate(rows)
    ]


@pytest.fixture(scope="session")
def shaken():
    """A function that moves a trainer's parameters away from their start, where half of them get no gradient."""

    def shake(trainer):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for value in trainer.parameters.parameters():
                value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
        return trainer

    return shake

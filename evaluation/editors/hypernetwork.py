"""MALMEN's hypernetwork, and how a loss of the edited language model gets back to it.

The net never meets the language model's graph. It says D without a graph, and the ridge regression makes edits of it;
the language model, asked a few questions under them, gives the gradient with respect to the regression's result; the
system is symmetric, so one more solve with the same factor takes that to D and to the ridge; and the net learns from
<dL/dD, D>, a few rows at a time.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_tensor

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors.gradients import Normaliser, RidgeSystem
from clmeeval_data.evaluation.editors.lookup import IGNORED, target_losses
from clmeeval_data.evaluation.model.hooks import changed_output, skipped_layers
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.prefix import pad

CHUNK_ROWS = 1024  # rows of all layers that go through the net at once; no result depends on it


class Block(nn.Module):
    """x -> x + s * relu(x A B + b) + t, with s and t of each layer, and A, B and b shared by all.

    Starts as the identity: B, b and t are 0, s is 1; A is drawn from a standard normal distribution.

    Args:
        layers: Edited layers.
        size: Width of x.
        rank: Columns of A, rows of B.
        generator: Of A.
    """

    def __init__(self, layers: int, size: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(size, rank, generator=generator))
        self.up = nn.Parameter(torch.zeros(rank, size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.ones(layers, 1, size))
        self.shift = nn.Parameter(torch.zeros(layers, 1, size))

    def forward(self, rows: Tensor) -> Tensor:
        """Shape (..., layers, n, size), as it came."""
        changed = torch.relu(rows @ self.down @ self.up + self.bias)
        return rows + self.scale * changed + self.shift


class Hypernetwork(nn.Module):
    """(K, G) -> D of all edited layers: x = normalised [k; g], blocks, [k~; g~] = x, D = -eta (k . k~) g~.

    eta of a layer is ``start`` times ``rate``, which begins at 1: a gradient of eta itself, which is that much larger
    than all others, would use up the norm to which gradients are clipped.

    Args:
        layers: Edited layers.
        f: Width of keys.
        d: Width of gradients.
        rank: Of the blocks.
        blocks: How many.
        eta: First step size.
        seed: Of the blocks' first weights.

    Source: Tan et al., "Massive Editing for Large Language Models via Meta Learning", ICLR 2024 (arXiv 2311.04661),
    in the form of its released code.
    """

    start: Tensor

    def __init__(self, layers: int, f: int, d: int, rank: int, blocks: int, eta: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.sizes = [f, d]
        self.normaliser = Normaliser(f + d)
        self.blocks = nn.ModuleList(Block(layers, f + d, rank, generator) for _ in range(blocks))
        self.rate = nn.Parameter(torch.ones(layers))
        self.log_ridge = nn.Parameter(torch.zeros(layers))
        self.register_buffer("start", torch.tensor(eta))

    @property
    def eta(self) -> Tensor:
        """Step size of each layer, shape (layers,)."""
        return self.start * self.rate

    @property
    def ridge(self) -> Tensor:
        """e^lambda of each layer, shape (layers,)."""
        return self.log_ridge.exp()

    def forward(self, keys: Tensor, gradients: Tensor) -> Tensor:
        """D, shape (..., layers, n, d), from keys (..., layers, n, f) and gradients (..., layers, n, d)."""
        rows: Tensor = self.normaliser(torch.cat([keys, gradients], -1).to(self.rate.dtype))
        for block in self.blocks:
            rows = block(rows)
        like_keys, like_gradients = rows.split(self.sizes, -1)
        near = (keys.to(rows.dtype) * like_keys).sum(-1, keepdim=True)
        changes: Tensor = -self.eta[:, None, None] * near * like_gradients
        return changes

    @torch.no_grad()
    def values(self, keys: Tensor, gradients: Tensor) -> Tensor:
        """D without a graph, chunk by chunk."""
        return torch.cat([self(keys[..., a:b, :], gradients[..., a:b, :]) for a, b in _chunks(keys)], -2)

    def learn(self, keys: Tensor, gradients: Tensor, slopes: Tensor) -> None:
        """Add to the parameters' gradients what dL/dD, of the shape of D, says; chunk by chunk."""
        for a, b in _chunks(keys):
            with torch.enable_grad():
                (self(keys[..., a:b, :], gradients[..., a:b, :]) * slopes[..., a:b, :]).sum().backward()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what was trained.

        Raises:
            ConfigError: If a tensor is missing, unknown, or of another shape.
        """
        own = self.state_dict()
        for name in sorted({*own, *tensors}):
            want, got = (tuple(kept[name].shape) if name in kept else None for kept in (own, tensors))
            if want != got:
                raise ConfigError(
                    f"the trained file's tensor {name} has shape {got}; these settings on this model need {want}. "
                    "Give the settings it was trained with, or train again."
                )
        self.load_state_dict(dict(tensors))


def _chunks(keys: Tensor) -> list[tuple[int, int]]:
    """Borders of the chunks along the tokens."""
    n = keys.shape[-2]
    step = max(1, CHUNK_ROWS * n // max(1, keys[..., 0].numel()))
    return list(pairwise([*range(0, n, step), n]))


class PredictedEdits:
    """What the net makes of E requests' or batches' signals: E edits, each W + X^T K with X = (K K^T + c I)^-1 D.

    ``weights``: X, a leaf that collects the language model's gradient, shape (E, layers, n, d).

    Args:
        net: The hypernetwork.
        keys: K, shape (E, layers, n, f); where the edits have fewer tokens, the rest are rows of zeros, which are
            without effect in all that follows.
        gradients: G, shape (E, layers, n, d).
    """

    def __init__(self, net: Hypernetwork, keys: Tensor, gradients: Tensor) -> None:
        self._net, self._gradients = net, gradients
        self.keys = keys
        self._system = RidgeSystem(keys, net.ridge.detach())
        self.weights = self._system.solve(net.values(keys, gradients)).to(keys.dtype).requires_grad_(True)

    def difference(self, layer: int, inputs: Tensor, edits: Tensor) -> Tensor:
        """What the edits add to a module's output, shape (rows, tokens, d).

        Args:
            layer: Index of the layer among the edited ones.
            inputs: The module's, shape (rows, tokens, f).
            edits: Under which edit each row runs, shape (rows,).
        """
        rows, keys, weights = inputs.to(self.keys), self.keys[:, layer], self.weights[:, layer]
        if len(keys) == 1:
            return rows @ keys[0].mT @ weights[0]
        edits = edits.to(keys.device)
        return rows @ keys[edits].mT @ weights[edits]

    def backward(self) -> None:
        """Add to the net's gradients, ridge included, what the gradient in ``weights`` says.

        With M = K K^T + c I and X = M^-1 D: dL/dD = M^-1 dL/dX, dL/dc = -<dL/dD, X>, dL/dlambda = c dL/dc.

        Source: MALMEN's way back through its f x f system, here through the n x n one.
        """
        if self.weights.grad is None:
            return
        slopes = self._system.solve(self.weights.grad)
        of_ridge = -(slopes * self.weights.detach()).sum((0, 2, 3)).to(self._net.log_ridge.dtype)
        (self._net.ridge * of_ridge).sum().backward()
        self._net.learn(self.keys, self._gradients, slopes.to(self._net.rate.dtype))


@dataclass(frozen=True, eq=False)
class Question:
    """A text that the edited model is asked to continue, as far as no edit changes it, in main memory.

    ``ids``: of the text. ``entering``: input of the lowest edited layer, shape (tokens, d). ``target``: what the last
    tokens are to predict; or, where they are to predict what they did before the edit, ``leaving``: the last layer's
    output there, shape (scored tokens, d).
    """

    ids: tuple[int, ...]
    entering: Tensor
    target: tuple[int, ...] = ()
    leaving: Tensor | None = None

    @property
    def scored(self) -> int:
        """How many of the last tokens are looked at."""
        return len(self.target) if self.leaving is None else len(self.leaving)

    @property
    def nbytes(self) -> int:
        """Size in main memory."""
        return self.entering.nbytes + (0 if self.leaving is None else self.leaving.nbytes)


def question_losses(
    lm: LanguageModel, layers: Sequence[int], edits: PredictedEdits, questions: Sequence[Question], under: Sequence[int]
) -> Tensor:
    """Loss of each question, mean over its scored tokens in nats, shape (questions,).

    With a target: -log p'(token). Without: KL(p || p'), p before and p' under the edit. Only the edited layers and
    those above the lowest of them run.

    Args:
        lm: The model.
        layers: The edited layers, lowest first.
        edits: What may change their outputs.
        questions: Rows of one batch.
        under: The edit each is asked under.
    """
    tokens = pad([one.ids for one in questions], lm.pad_id, lm.device, "left")
    scored, rows = max(one.scored for one in questions), torch.tensor(list(under))
    entering = _at_the_end([one.entering for one in questions], tokens.ids.shape[1])
    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            stack.enter_context(changed_output(lm.mlp_output(layer), partial(_changed, edits, index, rows)))
        stack.enter_context(_skipped(lm, layers[0], entering))
        logits: Tensor = lm.model(
            input_ids=tokens.ids,
            attention_mask=tokens.mask.long(),
            position_ids=tokens.positions(),
            use_cache=False,
            logits_to_keep=scored,
        ).logits
    labels = torch.full((len(questions), scored), IGNORED)
    for row, one in enumerate(questions):
        labels[row, scored - len(one.target) :] = torch.tensor(one.target, dtype=torch.long)
    losses = target_losses(logits, labels)
    kept = [row for row, one in enumerate(questions) if one.leaving is not None]
    if kept:
        divergences = _divergences(lm, [questions[row] for row in kept], logits[kept])
        losses = losses.index_copy(0, torch.tensor(kept, device=losses.device), divergences)
    return losses


def _divergences(lm: LanguageModel, questions: Sequence[Question], logits: Tensor) -> Tensor:
    """KL(unedited || edited), mean over each question's scored tokens, from logits (questions, tokens, vocabulary)."""
    width = logits.shape[1]
    leaving = _at_the_end([one.leaving for one in questions if one.leaving is not None], width)
    ids = torch.full(leaving.shape[:2], lm.pad_id, device=lm.device)
    with torch.no_grad(), _skipped(lm, lm.map.depth, leaving):  # what is left: the last norm and the vocabulary
        unedited = lm.model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
    each: Tensor = (unedited.exp() * (unedited - logits.float().log_softmax(-1))).sum(-1)
    counts = torch.tensor([one.scored for one in questions], device=each.device)
    real = torch.arange(width, device=each.device) >= width - counts[:, None]
    return (each * real).sum(-1) / counts


def _changed(edits: PredictedEdits, layer: int, rows: Tensor, inputs: Tensor, output: Tensor) -> Tensor:
    return output + edits.difference(layer, inputs, rows).to(output)


def _skipped(lm: LanguageModel, below: int, entering: Tensor) -> AbstractContextManager[None]:
    """Layers under ``below`` skipped, with ``entering`` on the device where it is needed next."""
    at = next(lm.layer_modules[min(below, lm.map.depth - 1)].parameters()).device
    return skipped_layers(lm.layer_modules, below, entering.to(at))


def _at_the_end(tensors: Sequence[Tensor], width: int) -> Tensor:
    """Tensors of different lengths as one, zeros before them: shape (rows, width, d)."""
    return torch.stack([pad_tensor(one, (0, 0, width - len(one), 0)) for one in tensors])

"""Keys and gradients at the tokens that predict a target, and the ridge regression that makes an edit of them.

K (n x f): inputs of an MLP output map W (d x f).  G (n x d): gradients of the loss with respect to its outputs.
D (n x d): what the outputs should change by, a function of K and G that MALMEN learns and UltraEdit writes down.
S = (K^T K + c I)^-1 K^T D = K^T (K K^T + c I)^-1 D,   W' = W + S^T

The second form needs an n x n system instead of an f x f one, and leaves the update in two thin matrices.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest
from clmeeval_data.evaluation.editors.lookup import IGNORED, PART_ROWS, check_finite, scored_losses, spread
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.hooks import captured_inputs, captured_outputs, changed_output
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.placement import computing_device
from clmeeval_data.evaluation.model.prefix import Prefix, read_prompts, run_suffix, suffix_of
from clmeeval_data.evaluation.model.tokens import parts_by_length
from clmeeval_data.evaluation.model.updates import Dense, LowRank

HALF_SCALE = 1024.0  # of a float16 loss: its gradients would fall below the smallest number; a power of two is exact


@dataclass(frozen=True)
class LayersConfig(EditorConfig):
    """Settings of a method that changes several layers. ``layers``: whose MLP output maps, lowest first."""

    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        ascending = bool(self.layers) and list(self.layers) == sorted(set(self.layers))
        self._require(ascending, "layers", "one or more layers, lowest first")

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The changed layers."""
        return self.layers

    def as_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return super().as_dict() | {"layers": list(self.layers)}


@dataclass(frozen=True, eq=False)
class Signals:
    """What the edited layers see of a request at the n tokens that predict its target: last prompt token, then targets.

    ``keys``: shape (layers, n, f). ``gradients``: shape (layers, n, d), of the request's own mean cross-entropy (nats
    per target token). ``loss``: that cross-entropy. Both in float32, or wider if the model is.
    """

    keys: Tensor
    gradients: Tensor
    loss: float

    @property
    def joined(self) -> Tensor:
        """Key and gradient side by side, shape (layers, n, f + d)."""
        return torch.cat([self.keys, self.gradients], -1)

    def to(self, device: torch.device) -> "Signals":
        """The same on another device."""
        return Signals(self.keys.to(device), self.gradients.to(device), self.loss)


def pooled(signals: Sequence[Signals]) -> Signals:
    """The tokens of several requests as those of one, with the mean of their losses."""
    return Signals(
        torch.cat([one.keys for one in signals], 1),
        torch.cat([one.gradients for one in signals], 1),
        sum(one.loss for one in signals) / len(signals),
    )


def home_of(lm: LanguageModel, layers: Sequence[int]) -> torch.device:
    """Where the signals of all the layers are gathered: the device of the first.

    Raises:
        ModelError: If the model has not got one of the layers.
    """
    devices = [computing_device(lm.mlp_output(layer)) for layer in layers]
    return devices[0]


def read_signals(lm: LanguageModel, requests: Sequence[EditRequest], layers: Sequence[int]) -> list[Signals]:
    """Keys and gradients of every request, each as if it were alone.

    A prompt's earlier tokens are read once (or were already); one pass over its last token and the target finds the
    keys, and one way back down to the lowest of the layers the gradients. Layers below it build no graph.

    Args:
        lm: The model, with the edits that are in force.
        requests: What to read.
        layers: The edited layers, lowest first.

    Raises:
        CaseError: If a prompt or a target cannot be encoded.
        EditError: If a loss is not a number.
        ModelError: If the model has not got one of the layers.
    """
    home_of(lm, layers)
    targets = [lm.encode_target(request.prompt, request.target) for request in requests]
    found: dict[int, Signals] = {}
    for rows in parts_by_length([len(target) for target in targets], PART_ROWS, lm.device):
        prefix = read_prompts(lm, [requests[row].prompt for row in rows])
        part = _read_part(lm, prefix, [targets[row] for row in rows], layers)
        found |= dict(zip(rows, part, strict=True))
    for row, request in enumerate(requests):
        check_finite(found[row].loss, request.case_id)
    return [found[row] for row in range(len(requests))]


def _read_part(
    lm: LanguageModel, prefix: Prefix, targets: Sequence[Sequence[int]], layers: Sequence[int]
) -> list[Signals]:
    suffix = suffix_of(lm, prefix, targets)
    labels = torch.full(suffix.ids.shape, IGNORED)
    for row, target in enumerate(targets):
        labels[row, : len(target)] = torch.as_tensor(list(target), dtype=torch.long)
    modules: dict[int, nn.Module] = {layer: lm.mlp_output(layer) for layer in layers}
    scale = HALF_SCALE if lm.dtype == torch.float16 else 1.0
    with torch.enable_grad(), ExitStack() as stack:
        stack.enter_context(changed_output(modules[layers[0]], lambda _, output: output.detach().requires_grad_(True)))
        inputs = stack.enter_context(captured_inputs(modules))
        outputs = stack.enter_context(captured_outputs(modules))
        scored = (labels != IGNORED).to(lm.device)
        each = scored_losses(run_suffix(lm, prefix, suffix, scored=scored), labels[labels != IGNORED])
        counts = (labels != IGNORED).sum(-1).to(each.device)
        losses = spread(each, labels).sum(-1) / counts
        total = losses.sum() * scale
    slopes = torch.autograd.grad(total, [outputs[layer] for layer in layers])
    wide, home = torch.promote_types(lm.dtype, torch.float32), home_of(lm, layers)
    keys = torch.stack([inputs[layer].detach().to(home, wide) for layer in layers], 1)
    gradients = torch.stack([slope.to(home, wide) / scale for slope in slopes], 1)
    return [
        Signals(keys[row, :, : len(target)].clone(), gradients[row, :, : len(target)].clone(), loss)
        for row, (target, loss) in enumerate(zip(targets, losses.tolist(), strict=True))
    ]


class RidgeSystem:
    """X -> (K K^T + c I)^-1 X, factored once, in float64.

    Args:
        keys: K, shape (..., layers, n, f).
        ridge: c of each layer, shape (layers,), above 0.

    Raises:
        EditError: If the system cannot be solved, because a key is not a number or c is too small for the keys.
    """

    def __init__(self, keys: Tensor, ridge: Tensor) -> None:
        self._factor = _factor(keys.double() @ keys.double().mT, ridge)

    def solve(self, values: Tensor) -> Tensor:
        """X for the right side D, both of shape (..., layers, n, d), X in float64."""
        return torch.cholesky_solve(values.double(), self._factor)


def _factor(gram: Tensor, ridge: Tensor) -> Tensor:
    """Cholesky factor of a Gram matrix with a ridge, shapes (..., n, n) and (...)."""
    system = gram + ridge.to(gram)[..., None, None] * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed.any() or not factor.isfinite().all():
        raise EditError(
            f"the keys' system with ridge {ridge.min():.3g} cannot be solved. Raise the ridge, or use float32."
        )
    return factor


def ridge_update(module: str, keys: Tensor, values: Tensor, ridge: Tensor) -> LowRank | Dense:
    """The change of a weight after which keys make as much of the wanted difference as a ridge regression allows.

    Of rank n while there are fewer tokens than key dimensions; beyond that, where two matrices of n rows would be
    larger than the change itself, the change.

    Args:
        module: Name of the changed module.
        keys: K, shape (n, f).
        values: D, shape (n, d).
        ridge: c, a scalar tensor.

    Raises:
        EditError: If the system cannot be solved.
    """
    if keys.shape[0] < keys.shape[1]:
        left = torch.cholesky_solve(values.double(), _factor(keys.double() @ keys.double().mT, ridge))
        return LowRank(module, left.mT.float().contiguous(), keys.float().contiguous())
    wide = keys.double()
    change = torch.cholesky_solve(wide.mT @ values.double(), _factor(wide.mT @ wide, ridge))
    return Dense(module, change.mT.float().contiguous())


def ridge_edit(
    lm: LanguageModel,
    config: LayersConfig,
    method: str,
    requests: Sequence[EditRequest],
    signals: Signals,
    values: Tensor,
    ridge: Tensor,
) -> Edit:
    """One edit of all the layers.

    Args:
        lm: The model.
        config: Of the method.
        method: Its name.
        requests: That are in the edit.
        signals: Theirs, pooled.
        values: D, shape (layers, n, d).
        ridge: c of each layer, shape (layers,).

    Raises:
        EditError: If the system of a layer cannot be solved.
    """
    names = [lm.map.mlp_output_name(layer) for layer in config.layers]
    return Edit(
        updates=tuple(map(ridge_update, names, signals.keys, values, ridge)),
        fingerprint=lm.fingerprint,
        method=method,
        config=config.as_dict(),
        case_ids=tuple(request.case_id for request in requests),
        details={"loss_before": signals.loss, "tokens": float(signals.keys.shape[1])},
    )


class Normaliser(nn.Module):
    """x -> (x - mean) / std of each feature over all rows it was shown; the identity before it was shown two.

    A feature that never varied is not divided: the published code divides it by the machine's epsilon, which makes a
    unit that is silent in training and speaks once the largest feature of all.

    Args:
        size: Features.

    Source: the running statistics of MALMEN (arXiv 2311.04661, released code) and of UltraEdit (arXiv 2505.14679,
    "lifelong normalization"). Both go on learning while they edit; here nothing but ``update`` changes them.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor  # summed squared distances from the mean

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows: Tensor) -> None:
        """Take more rows into account, shape (..., features): the same numbers as if all had come at once."""
        rows = rows.reshape(-1, rows.shape[-1]).to(self.mean)
        total, centre = self.count + len(rows), rows.mean(0)
        apart = centre - self.mean
        self.squares += (rows - centre).square().sum(0) + apart.square() * self.count * len(rows) / total
        self.mean += apart * len(rows) / total
        self.count.copy_(total)

    def forward(self, rows: Tensor) -> Tensor:
        """The rows, normalised; shape (..., features)."""
        spread = (self.squares / (self.count - 1).clamp_min(1)).sqrt()
        spread = spread.where(spread > 0, 1.0)
        normalised: Tensor = (rows - self.mean.to(rows)) / spread.to(rows)
        return normalised

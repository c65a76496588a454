"""LoRA: low-rank maps beside the MLP output maps of many layers, trained on the request while the weights stay frozen.

W' = W + (alpha / r) B A     A (r x f) starts at random, B (d x r) at zero
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from clmeeval_data.errors import ModelError
from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.lookup import PART_ROWS, check_finite
from clmeeval_data.evaluation.editors.texts import Texts, read_texts
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.structure import oriented_weight
from clmeeval_data.evaluation.model.updates import LowRank


@dataclass(frozen=True)
class LoraConfig(EditorConfig):
    """Settings of LoRA.

    ``layers``: the decoder layers whose MLP output maps are adapted; none named: all of them. ``rank``: r. ``alpha``:
    the update is alpha / r times B A. ``learning_rate``, ``steps``: of Adam. ``stop_loss``: training stops once the
    loss (nats per target token) is below it; 0 for never. ``seed``: of the first A.
    """

    layers: tuple[int, ...] = ()
    rank: int = 8
    alpha: float = 32.0
    learning_rate: float = 5e-3
    steps: int = 70
    stop_loss: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._require(len(set(self.layers)) == len(self.layers), "layers", "every layer once")
        self._require(self.rank >= 1, "rank", "at least 1")
        self._require(self.alpha > 0, "alpha", "a number above 0")
        self._require(self.steps >= 1, "steps", "at least 1")
        self._require(self.learning_rate > 0, "learning_rate", "a number above 0")

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The adapted layers, lowest first; where that is all of them, the first stands for all."""
        return tuple(sorted(self.layers)) or (0,)


class Lora:
    """Low-Rank Adaptation, through peft.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022 (arXiv 2106.09685), section 4.1;
    as an editing baseline in EasyEdit (Wang et al., arXiv 2308.07269). Three departures from EasyEdit. It adapts
    ``q_proj`` and ``v_proj``, names that only some architectures have: here it is the MLP output map, which is found by
    structure and is what the other weight editors change. It has a dropout of 0.1 and none is used here, so that an
    edit depends on nothing but its request and the seed. It appends the end-of-text token to the target, which is
    not part of a request here.
    """

    name: ClassVar[str] = "lora"
    summary: ClassVar[str] = "low-rank adapters of many MLPs, trained on the request"
    family: ClassVar[Family] = "global optimisation"
    changes: ClassVar[str] = "adapters on MLP output maps"
    needs: ClassVar[str] = "nothing"
    config_class: ClassVar[type[EditorConfig]] = LoraConfig

    def __init__(self, config: LoraConfig) -> None:
        self.config = config

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Nothing to prepare; fails early if a layer does not exist."""
        self._modules(lm)

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One adapter, trained on the mean loss of all requests."""
        return self._train(lm, requests, [0] * len(requests))[0]

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """An adapter for every request, trained on it alone; the adapters share the forward passes."""
        return self._train(lm, requests, list(range(len(requests))))

    def _train(self, lm: LanguageModel, requests: Sequence[EditRequest], owners: list[int]) -> list[Edit]:
        modules, fingerprint = self._modules(lm), lm.fingerprint  # of the model as it is: peft renames modules
        cases = [
            tuple(request.case_id for request, owner in zip(requests, owners, strict=True) if owner == index)
            for index in range(max(owners) + 1)
        ]
        texts = read_texts(lm, requests, owners, self.config.edited_layers[0])
        parts, counts = texts.by_length(lm, PART_ROWS), torch.bincount(texts.owner)
        with adapted(lm, modules, self.config, ["|".join(ids) for ids in cases]) as adapters:
            losses, steps = self._fit(lm, parts, counts, adapters, ["|".join(ids) for ids in cases])
            updates = [adapters.updates(index) for index in range(len(cases))]
        return [
            Edit(
                updates=updates[index],
                fingerprint=fingerprint,
                method=self.name,
                config=self.config.as_dict(),
                case_ids=ids,
                details={"loss": losses[index], "steps": float(steps[index])},
            )
            for index, ids in enumerate(cases)
        ]

    def _fit(
        self, lm: LanguageModel, parts: list[Texts], counts: Tensor, adapters: "Adapters", names: Sequence[str]
    ) -> tuple[list[float], list[int]]:
        """Train the adapters together, each by its own Adam and until its own loss is small: (losses, steps taken).

        ``counts``: how many rows each adapter has, shape (adapters,).
        """
        config, going, shares = self.config, list(range(len(names))), 1 / counts.to(lm.device)
        optimisers = [torch.optim.Adam(adapters.parameters(index), lr=config.learning_rate) for index in going]
        losses, taken = [math.nan] * len(names), [0] * len(names)
        for step in range(config.steps + 1):
            last = step == config.steps
            values = _losses(lm, parts, adapters, shares, backward=not last)
            for index in going:
                check_finite(values[index], names[index])
                losses[index], taken[index] = values[index], step
            going = [index for index in going if values[index] >= config.stop_loss]
            if last or not going:
                break
            for index in going:
                optimisers[index].step()
            for optimiser in optimisers:
                optimiser.zero_grad()
            parts = [kept for part in parts if (kept := part.of(going)) is not None]
        return losses, taken

    def _modules(self, lm: LanguageModel) -> list[str]:
        layers = sorted(self.config.layers) or range(lm.map.depth)
        for layer in layers:
            oriented_weight(lm.mlp_output(layer))  # peft's layers cannot stand before an offloaded one
        return [lm.map.mlp_output_name(layer) for layer in layers]


def _losses(
    lm: LanguageModel, parts: Sequence[Texts], adapters: "Adapters", shares: Tensor, backward: bool
) -> dict[int, float]:
    """The loss of every adapter that has rows; ``backward`` adds its gradient to the adapter's parameters.

    ``shares``: of each of an adapter's rows in its loss, shape (adapters,).
    """
    total = torch.zeros(len(shares), device=lm.device)
    for part in parts:
        owner = part.owner.to(lm.device)
        with torch.set_grad_enabled(backward), adapters.assigned(part.owner.tolist()):
            each = part.losses(lm).to(lm.device) * shares[owner]
            if backward:
                each.sum().backward()
        total.index_add_(0, owner, each.detach())
    values = total.tolist()
    return {owner: values[owner] for part in parts for owner in part.owner.tolist()}


class Adapters:
    """peft's LoRA layers while they stand in the model, each with one adapter per name.

    Args:
        layers: By name of the adapted module, its LoRA layer (``peft.tuners.lora.Linear``).
        names: Of the adapters.
    """

    def __init__(self, layers: Mapping[str, nn.Module], names: Sequence[str]) -> None:
        self._layers: dict[str, Any] = dict(layers)
        self._names = list(names)

    def start(self, index: int, seed: str) -> None:
        """A uniform in +-1 / sqrt(f), as peft has it, but drawn from the seed; B zero. Both in float32."""
        for module, layer in self._layers.items():
            a, b = (linear[self._names[index]].float().weight for linear in (layer.lora_A, layer.lora_B))
            digest = hashlib.sha256(f"{seed}|{module}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
            with torch.no_grad():
                a.copy_((2 * torch.rand(a.shape, generator=generator) - 1) / math.sqrt(a.shape[1]))
                b.zero_()
            a.requires_grad_(True)
            b.requires_grad_(True)

    def parameters(self, index: int) -> list[Tensor]:
        """A and B of one adapter in every layer."""
        return [tensor for layer in self._layers.values() for tensor in self._maps(layer, index)]

    def updates(self, index: int) -> tuple[LowRank, ...]:
        """What one adapter adds to the weights."""
        found = []
        for module, layer in self._layers.items():
            a, b = self._maps(layer, index)
            left = layer.scaling[self._names[index]] * b.detach()
            found.append(LowRank(module, left.clone(), a.detach().clone()))
        return tuple(found)

    @contextmanager
    def assigned(self, owners: Sequence[int]) -> Iterator[None]:
        """Inside the block row i of a batch runs under adapter ``owners[i]``."""
        names = [self._names[owner] for owner in owners]

        def name_rows(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return args, {**kwargs, "adapter_names": names}

        with ExitStack() as stack:
            for layer in self._layers.values():
                stack.callback(layer.register_forward_pre_hook(name_rows, with_kwargs=True).remove)
            yield

    def _maps(self, layer: Any, index: int) -> tuple[Tensor, Tensor]:
        name = self._names[index]
        return layer.lora_A[name].weight, layer.lora_B[name].weight


@contextmanager
def adapted(lm: LanguageModel, modules: Sequence[str], config: LoraConfig, seeds: Sequence[str]) -> Iterator[Adapters]:
    """Inside the block the model has one adapter per seed; afterwards it is what it was, also after an exception.

    The modules are put back here, and not by peft's ``unload``: an injection that fails halfway has nothing to unload.

    Raises:
        ModelError: If the model holds adapters of peft already.
    """
    if hasattr(lm.model, "peft_config"):
        raise ModelError(
            f"{lm.name} holds adapters of peft already, which LoRA cannot be set beside. "
            "Merge them into its weights first (merge_and_unload)."
        )
    originals = {name: lm.model.get_submodule(name) for name in modules}
    trained = {name: parameter.requires_grad for name, parameter in lm.model.named_parameters()}
    names = [f"edit{index}" for index in range(len(seeds))]
    try:
        _inject(lm, originals, config, names)
        adapters = Adapters({name: lm.model.get_submodule(name) for name in modules}, names)
        for index, seed in enumerate(seeds):
            adapters.start(index, f"{config.seed}|{seed}")
        yield adapters
    finally:
        for name, module in originals.items():
            parent, _, child = name.rpartition(".")
            setattr(lm.model.get_submodule(parent), child, module)
        vars(lm.model).pop("peft_config", None)
        for name, parameter in lm.model.named_parameters():
            parameter.requires_grad_(trained[name])


def _inject(lm: LanguageModel, modules: Mapping[str, nn.Module], config: LoraConfig, names: Sequence[str]) -> None:
    from peft import LoraConfig as PeftConfig
    from peft import LoraModel

    def settings() -> PeftConfig:
        return PeftConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # it is only divided by r
            lora_dropout=0.0,
            target_modules=list(modules),
            fan_in_fan_out=all(isinstance(module, Conv1D) for module in modules.values()),
        )

    with torch.random.fork_rng(devices=[]):  # peft draws first values, which nobody uses
        tuner = LoraModel(lm.model, {names[0]: settings()}, names[0])
        for name in names[1:]:
            tuner.peft_config[name] = settings()
            tuner.inject_adapter(lm.model, name)

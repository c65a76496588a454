"""Second moments of a layer's keys, the inputs of its MLP output map: collected in one pass, cached, factored once.

C = E[k k^T] over the tokens of a corpus, shape (f, f)

A pass reads the corpus as a stream and stops every forward right after the highest layer asked for. Sums are saved now
and then; an interrupted pass goes on from there and ends with the same numbers.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from clmeeval_data.errors import ConfigError, EditError, ModelError, SourceError
from clmeeval_data.evaluation.model.corpus import Corpus, batches_of, windows_of
from clmeeval_data.evaluation.model.hooks import ended_after
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.placement import computing_device
from clmeeval_data.evaluation.model.smollm2 import cache_root
from clmeeval_data.evaluation.model.tensor_file import read_tensors, tensor_names, write_tensors
from clmeeval_data.evaluation.model.tokens import pad

FORMAT = "clmeeval-statistics-1"  # raise it when the numbers below change: it is part of a cached file's identity
RIDGES = tuple(10.0**power for power in range(-10, 1))  # relative to the mean diagonal of C, smallest first
CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 20  # the time between two checkpoints is at least this many times what writing one took

Track = Callable[[Iterable[None], str, int], Iterable[None]]  # (steps, description, total) -> the same steps
logger = logging.getLogger(__name__)


def untracked(steps: Iterable[None], description: str, total: int) -> Iterable[None]:
    """The steps, with nothing shown."""
    return steps


class _Factor(NamedTuple):
    lower: Tensor
    ridge: float


@dataclass(frozen=True, eq=False)
class KeyStatistics:
    """The keys of one layer over ``count`` tokens.

    ``second_moment``: C = E[k k^T], shape (f, f), float32, symmetric. It stays on the device of the layer's MLP output
    map, and its factor (float64, shape (f, f)) is made and kept there; ``dataclasses.replace`` with a tensor on another
    device gives statistics that compute there.
    """

    layer: int
    count: int
    second_moment: Tensor

    @property
    def ridge(self) -> float:
        """What ``solve`` adds to the diagonal of C: 0 unless C is singular."""
        return self._factor.ridge

    @property
    def regularised(self) -> Tensor:
        """The matrix that ``solve`` inverts: C + ridge I, shape (f, f), float64."""
        return self._with_ridge(self.ridge)

    def solve(self, keys: Tensor) -> Tensor:
        """(C + ridge I)^-1 keys by a Cholesky factor that the first call makes.

        A singular C, surely one of fewer tokens than f, gets the smallest ridge of ``RIDGES`` times its mean diagonal
        with which the factorisation succeeds, and with which no pivot falls under half the ridge: below that, rounding
        errors of C would be what is inverted.

        Args:
            keys: Shape (f, n), any precision, any device.

        Returns:
            Shape (f, n), float64, on the device of the keys.

        Raises:
            EditError: If no ridge helps: C is zero or not finite.
        """
        lower = self._factor.lower
        half = torch.linalg.solve_triangular(lower, keys.to(lower.device, torch.float64), upper=False)
        solved: Tensor = torch.linalg.solve_triangular(lower.mT, half, upper=True)  # cholesky_solve would copy f x f
        return solved.to(keys.device)

    def null_space(self, threshold: float) -> Tensor:
        """An orthonormal basis of the directions that the keys hardly use: eigenvalue of C under the threshold.

        Args:
            threshold: In the unit of C, not relative to it.

        Returns:
            Shape (f, r), float64, on the device of C, smallest eigenvalue first. A view of the one eigenbasis, which is
            computed once for all thresholds.

        Source: Fang et al., "AlphaEdit", ICLR 2025 (arXiv 2410.02355), section 3; its threshold is 0.02.
        """
        values, vectors = self._spectrum
        return vectors[:, : int((values < threshold).sum())]

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.second_moment.double())
        return values, vectors

    @cached_property
    def _factor(self) -> _Factor:
        mean = float(self.second_moment.diagonal().double().mean())
        ladder = [relative * mean for relative in RIDGES]
        for ridge in ladder if self.count < len(self.second_moment) else [0.0, *ladder]:
            with suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]  # public, but not declared so
                lower = torch.linalg.cholesky(self._with_ridge(ridge))
                if float(lower.diagonal().min()) ** 2 > ridge / 2:
                    self._report(ridge)
                    return _Factor(lower, ridge)
        raise EditError(
            f"the key statistics of layer {self.layer} cannot be factored: their mean square is {mean:.3g}. "
            "Expected finite numbers above 0; collect them again with a model in float32."
        )

    def _report(self, ridge: float) -> None:
        if ridge:
            logger.warning(
                "key statistics of layer %d: C of %d tokens is singular (f = %d); a ridge of %.3g was added. "
                "More tokens make it unnecessary.",
                *(self.layer, self.count, len(self.second_moment), ridge),
            )

    def _with_ridge(self, ridge: float) -> Tensor:
        matrix = self.second_moment.to(torch.float64, copy=True)
        matrix.diagonal().add_(ridge)
        return matrix


def key_statistics(
    lm: LanguageModel,
    corpus: Corpus,
    layers: Sequence[int],
    tokens: int,
    track: Track = untracked,
    cache: Path | None = None,
) -> dict[int, KeyStatistics]:
    """C = E[k k^T] of the keys of layers, over all tokens of a corpus or its first ``tokens``.

    What is in the cache is read from there, all other layers are collected in one pass. A text is read without special
    tokens and cut at the model's context or ``LONGEST_TEXT`` tokens, whichever is less. Products are taken in float32
    without TF32, whatever the model's precision, and summed in float64.

    Args:
        lm: The model, with no edit applied.
        corpus: The texts.
        layers: Decoder layers.
        tokens: How many tokens are read at most; the last text is cut to fit. A corpus may have fewer.
        track: Shows the advance, one step per token.
        cache: Folder of the cached files, instead of ``statistics`` in the user's cache. A file takes 4 f^2 bytes,
            the sums of an unfinished pass 8 f^2 bytes per layer. A damaged file is collected again with a warning.

    Returns:
        Per layer its statistics, on the device of the layer's MLP output map.

    Raises:
        ConfigError: If ``tokens`` is not above 0.
        ModelError: If the model has no such layer, or its keys are not finite.
        EditError: If an edit is applied, or a cached file belongs to another model or corpus, or cannot be written.
        SourceError: If the corpus has no token, or is damaged.

    Source: Meng et al., "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262), section 3.1, and
    "Mass-Editing Memory in a Transformer" (arXiv 2210.07229), section 4.2. Both take C from Wikipedia.
    """
    if tokens < 1:
        raise ConfigError(f"the token budget of key statistics is {tokens}; expected 1 or more.")
    if lm.edits_applied:
        raise EditError("key statistics are asked of a model with an edit applied. Collect them outside the block.")
    devices = {layer: computing_device(lm.mlp_output(layer)) for layer in sorted(set(layers))}
    shelf = _Shelf.of(cache or cache_root() / "statistics", lm, corpus, tokens)
    found = {layer: kept for layer, device in devices.items() if (kept := shelf.read(layer, device)) is not None}
    missing = tuple(layer for layer in devices if layer not in found)
    if missing:
        found.update(_collect(lm, corpus, missing, tokens, track, shelf))
    return {layer: found[layer] for layer in layers}


@dataclass(frozen=True)
class _Shelf:
    """The cached files of one model, corpus and budget."""

    folder: Path
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, root: Path, lm: LanguageModel, corpus: Corpus, tokens: int) -> "_Shelf":
        identity = hashlib.sha256(json.dumps([FORMAT, lm.fingerprint, corpus.digest, tokens]).encode()).hexdigest()
        facts = {"model": lm.name, "fingerprint": lm.fingerprint, "corpus": corpus.name, "digest": corpus.digest}
        return cls(root / lm.fingerprint / identity[:16], {**facts, "budget": tokens})

    def read(self, layer: int, device: torch.device) -> KeyStatistics | None:
        """A layer's statistics, or None where they are not kept or the file is damaged."""
        path = self._path(layer)
        header, tensors = self._open(path, device)
        if "second_moment" not in tensors:
            return None
        if header["layer"] != layer:
            raise EditError(f"{path} holds layer {header['layer']}, expected {layer}. Delete it.")
        return KeyStatistics(layer, int(header["tokens"]), tensors["second_moment"])

    def write(self, statistics: KeyStatistics) -> None:
        """Keep a layer's statistics."""
        header = {"layer": statistics.layer, "tokens": statistics.count}
        self._save(self._path(statistics.layer), header, {"second_moment": statistics.second_moment})

    def resumed(self, layers: Sequence[int]) -> "_Sums":
        """The sums of the unfinished pass that got furthest with these layers, or of one that has not begun."""
        best = _Sums()
        for path in self._partial():
            header, tensors = self._open(path, torch.device("cpu"))
            if {str(layer) for layer in layers} <= set(tensors) and header["tokens"] > best.tokens:
                sums = {layer: tensors[str(layer)] for layer in layers}
                best = _Sums(sums, header["tokens"], header["texts"])
        return best

    def write_partial(self, sums: "_Sums") -> None:
        """Keep the sums of an unfinished pass."""
        layers = hashlib.sha256(str(sorted(sums.of)).encode()).hexdigest()[:8]
        tensors = {str(layer): total for layer, total in sums.of.items()}
        header = {"tokens": sums.tokens, "texts": sums.texts}
        self._save(self.folder / f"partial-{layers}.safetensors", header, tensors)

    def drop_partial(self) -> None:
        """Forget unfinished passes whose layers are all kept now, and damaged ones."""
        for path in self._partial():
            try:
                done = all(self._path(int(layer)).exists() for layer in tensor_names(path))
            except (OSError, SafetensorError):
                done = True
            if done:
                path.unlink(missing_ok=True)

    def _path(self, layer: int) -> Path:
        return self.folder / f"layer-{layer}.safetensors"

    def _partial(self) -> list[Path]:
        return sorted(self.folder.glob("partial-*.safetensors"))

    def _open(self, path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Header and tensors of a file; both empty where there is none, or a damaged one."""
        try:
            metadata, tensors = read_tensors(path, device)
            header = json.loads(metadata["statistics"])
        except FileNotFoundError:
            return {}, {}
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            logger.warning("%s is damaged (%s); its statistics are collected again", path, error)
            return {}, {}
        self._check(path, header)
        return header, tensors

    def _check(self, path: Path, header: Mapping[str, Any]) -> None:
        for name in ("fingerprint", "digest", "budget"):
            if header.get(name) != self.facts[name]:
                raise EditError(
                    f"{path} has the {name} {header.get(name)!r}, expected {self.facts[name]!r}: it is of "
                    f"{header.get('model')} on {header.get('corpus')}. Delete it, or put it back into its own place."
                )

    def _save(self, path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        described = {**self.facts, **header}
        try:
            write_tensors(path, tensors, {"format": FORMAT, "statistics": json.dumps(described)})
        except (OSError, SafetensorError) as error:
            raise EditError(
                f"cannot write key statistics to {path}: {error}. Set CLMEEVAL_CACHE to a folder with space."
            ) from error


@dataclass
class _Sums:
    """What a pass has added up: per layer the sum of k k^T, shape (f, f), float64, over ``tokens`` of ``texts``."""

    of: dict[int, Tensor] = field(default_factory=dict)
    tokens: int = 0
    texts: int = 0

    def add(self, layer: int, keys: Tensor) -> None:
        """Add the keys of some tokens, shape (tokens, f)."""
        keys = keys.float()
        with _no_tf32():
            product = keys.T @ keys
        total = self.of.get(layer)
        self.of[layer] = product.double() if total is None else total.to(product.device).add_(product)

    def statistics(self, layer: int) -> KeyStatistics:
        """The mean. It is made symmetric to the last bit, which a matrix product need not be.

        Raises:
            ModelError: If it is not finite.
        """
        total = self.of[layer]
        mean = ((total + total.T) / (2 * self.tokens)).float()
        if not bool(mean.isfinite().all()):
            raise ModelError(
                f"the keys of layer {layer} are not finite: the model overflows its precision. "
                "Load it with --dtype bfloat16 or float32."
            )
        return KeyStatistics(layer, self.tokens, mean)


def _collect(
    lm: LanguageModel, corpus: Corpus, layers: Sequence[int], tokens: int, track: Track, shelf: _Shelf
) -> dict[int, KeyStatistics]:
    sums = shelf.resumed(layers)
    if sums.tokens:
        logger.info("key statistics: going on after %d texts, %d tokens", sums.texts, sums.tokens)
    description = f"key statistics of {len(layers)} layer{'s' if len(layers) > 1 else ''}"
    for _ in track(_read(lm, corpus, layers, tokens, sums, shelf), description, tokens):
        pass
    if not sums.tokens:
        raise SourceError(f"the corpus {corpus.name} holds no text. Expected at least one token; check the corpus.")
    found = {layer: sums.statistics(layer) for layer in layers}
    for statistics in found.values():
        shelf.write(statistics)
    shelf.drop_partial()
    return found


def _read(
    lm: LanguageModel, corpus: Corpus, layers: Sequence[int], tokens: int, sums: _Sums, shelf: _Shelf
) -> Iterator[None]:
    """Read the rest of the corpus into the sums, window by window; one step per token."""
    yield from repeat(None, sums.tokens)
    saved, cost = time.monotonic(), 0.0
    for window in windows_of(lm, islice(corpus.texts(), sums.texts, None), tokens - sums.tokens):
        for batch in batches_of(window.ids):
            _read_batch(lm, layers, batch, sums)
            yield from repeat(None, sum(map(len, batch)))
        sums.tokens += sum(map(len, window.ids))
        sums.texts += window.texts
        if time.monotonic() - saved >= max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * cost):
            started = time.monotonic()
            shelf.write_partial(sums)
            saved = time.monotonic()
            cost = saved - started


@torch.no_grad()
def _read_batch(lm: LanguageModel, layers: Sequence[int], ids: Sequence[Sequence[int]], sums: _Sums) -> None:
    """Add the keys of some texts; padding stands on the right, where no token sees it."""
    tokens = pad(ids, lm.pad_id, lm.device, "right")

    def reading(layer: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            sums.add(layer, args[0][tokens.mask.to(args[0].device)])

        return hook

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(lm.mlp_output(layer).register_forward_pre_hook(reading(layer)).remove)
        stack.enter_context(ended_after(lm.mlp_output(max(layers))))
        lm.model(input_ids=tokens.ids, attention_mask=tokens.mask.long(), use_cache=False)


@contextmanager
def _no_tf32() -> Iterator[None]:
    """float32 products in float32, whatever the process has chosen for speed."""
    settings = torch.backends.cuda.matmul
    name, exact = ("fp32_precision", "ieee") if hasattr(settings, "fp32_precision") else ("allow_tf32", False)
    before = getattr(settings, name)
    setattr(settings, name, exact)
    try:
        yield
    finally:
        setattr(settings, name, before)

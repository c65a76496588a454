"""A causal language model with its tokenizer, the names of its modules, and a fingerprint of its weights."""

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from clmeeval_data.errors import CaseError, ModelError
from clmeeval_data.evaluation.model import smollm2
from clmeeval_data.evaluation.model.hooks import DecoderLayers
from clmeeval_data.evaluation.model.placement import computing_device, stored_tensor
from clmeeval_data.evaluation.model.probe import observed
from clmeeval_data.evaluation.model.structure import ModelMap, read_structure

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FINGERPRINT_SAMPLE = 2048  # elements of each tensor that enter the fingerprint

logger = logging.getLogger(__name__)


class LanguageModel:
    """Any Hugging Face causal LM and its tokenizer, frozen and in evaluation mode.

    Args:
        model: The model, already on its device.
        tokenizer: Its tokenizer.
        name: What reports call the model.

    Raises:
        ModelError: If the model's structure does not fit, or its tokenizer has neither a padding nor an end token.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.map: ModelMap = observed(self.model, read_structure(model))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if pad is None:
            raise ModelError(f"the tokenizer of {name} has neither a padding nor an end-of-text token.")
        self.pad_id = int(pad)
        self.memory: object | None = None  # prompts that were read already (prefix.PromptMemory)
        self.edits_applied = 0  # how many edits are in force now (edits.applied)

    @property
    def device(self) -> torch.device:
        """Where the input embeddings compute, and so where token ids go."""
        return computing_device(self.model.get_input_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return cast(torch.dtype, self.model.dtype)

    @property
    def identity(self) -> dict[str, str]:
        """Name, fingerprint and precision: what tells this model from others, as JSON values."""
        dtype = str(self.dtype).removeprefix("torch.")
        return {"name": self.name, "fingerprint": self.fingerprint, "dtype": dtype}

    @property
    def context_length(self) -> int:
        """The longest text the model can read, in tokens; 2^20 where its configuration names no limit."""
        config = self.model.config.get_text_config()
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")]
        return int(next((limit for limit in limits if limit), 1 << 20))

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end a text."""
        config = self.model.generation_config
        ids = config.eos_token_id if config is not None else None
        listed = ids if isinstance(ids, list) else [ids]
        return frozenset(int(i) for i in [*listed, self.tokenizer.eos_token_id] if i is not None)

    @cached_property
    def layer_modules(self) -> DecoderLayers:
        """The decoder layers, first to last."""
        names = [self.map.layer_name(layer) for layer in range(self.map.depth)]
        return DecoderLayers((self.model.get_submodule(name) for name in names), self.map.layer_outputs)

    def mlp_output(self, layer: int) -> nn.Module:
        """The linear map (d x f) that writes a layer's MLP output; its input is the key, its output the value.

        Raises:
            ModelError: If the model has no such layer.
        """
        return cast(nn.Module, self.model.get_submodule(self.map.mlp_output_name(layer)))

    @cached_property
    def last_mlp(self) -> nn.Module:
        """The MLP of the last layer, whose outputs nothing but the model's own output reads."""
        parent, _, _ = self.map.mlp_output_name(self.map.depth - 1).rpartition(".")
        return cast(nn.Module, self.model.get_submodule(parent))

    def attention_output(self, layer: int) -> nn.Module:
        """The linear map that writes a layer's attention output, d rows.

        Raises:
            ModelError: If the model has no such layer, or its attention no such map.
        """
        return cast(nn.Module, self.model.get_submodule(self.map.attention_output_name(layer)))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell this model from others: names, shapes, types, some of all weights."""
        if self._fingerprint is None:
            self._fingerprint = _fingerprint(self.model)
        return self._fingerprint

    _fingerprint: str | None = None

    def weights_changed(self) -> None:
        """Forget the fingerprint: whoever writes into the weights calls this."""
        self._fingerprint = None

    def encode(self, prompt: str) -> list[int]:
        """The token ids of a prompt, without special tokens.

        Raises:
            CaseError: If the prompt has no token, or more than the model's context holds.
        """
        ids = list(self.tokenizer(prompt, add_special_tokens=False).input_ids)
        if not ids:
            raise CaseError("the prompt is empty: there is no token to edit at.")
        if len(ids) >= self.context_length:
            raise CaseError(
                f"the prompt has {len(ids)} tokens and the context of {self.name} {self.context_length}. "
                "Leave the case out, or take a model with a longer context."
            )
        return ids

    def encode_target(self, prompt: str, target: str) -> list[int]:
        """The token ids that follow the prompt's own in ``prompt + " " + target``.

        Raises:
            CaseError: If the target is empty, does not fit into the context, or merges with the prompt's last token.
        """
        if not target.strip():
            raise CaseError("the target is empty: there is nothing to edit towards.")
        before = self.encode(prompt)
        ids = list(self.tokenizer(f"{prompt} {target}", add_special_tokens=False).input_ids)
        if ids[: len(before)] != before or len(ids) == len(before):
            raise CaseError(
                f"the tokenizer of {self.name} merges the end of the prompt with the target {target[:40]!r}: "
                "the target has no token ids of its own in context."
            )
        if len(ids) > self.context_length:
            raise CaseError(
                f"prompt and target have {len(ids)} tokens; the context of {self.name} holds {self.context_length}."
            )
        return ids[len(before) :]

    def decode(self, ids: Sequence[int]) -> str:
        """Generated ids as text, without special tokens and surrounding white space."""
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        ).strip()


def load_language_model(name: str, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
    """Load the packaged model ``smollm2``, a local folder, or a model of the Hub.

    Args:
        name: ``smollm2``, a path, or a Hub id.
        device: A torch device ("cpu", "cuda", "cuda:1"), or "auto" to spread the model over all devices there are.
        dtype: "float32", "float16" or "bfloat16".

    Raises:
        ModelError: If the model cannot be found or loaded, or device or dtype cannot be used; the message says why.
    """
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}. Expected one of {', '.join(DTYPES)}.")
    spread = device == "auto"
    if not spread:
        _check_device(device)
        _check_precision(device, dtype)
    location = str(smollm2.smollm2_folder()) if name == smollm2.NAME else name
    if name != smollm2.NAME and (Path(name).is_absolute() or name.startswith(".")) and not Path(name).is_dir():
        raise ModelError(
            f"no model folder {name}. Expected a folder written by save_pretrained, a Hub id, or 'smollm2'."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(location)
        options = {"device_map": "auto"} if spread else {}
        model = AutoModelForCausalLM.from_pretrained(location, dtype=DTYPES[dtype], **options)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"cannot load model {name!r}: {reason} Expected 'smollm2', a folder made by save_pretrained, or a Hub id."
        ) from error
    if not spread:
        nn.Module.to(model, torch.device(device))
    return LanguageModel(model, tokenizer, _short_name(name))


def _short_name(name: str) -> str:
    return Path(name).name if Path(name).is_dir() else name


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device)
        torch.empty(0, device=kind)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {device!r} cannot be used: {reason} Expected e.g. cpu, cuda or cuda:0.") from error


def _check_precision(device: str, dtype: str) -> None:
    try:
        _compute_something(torch.device(device), DTYPES[dtype])
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{dtype} cannot be computed on {device}: {reason} Expected float32, or another device (e.g. cuda)."
        ) from error


def _compute_something(device: torch.device, dtype: torch.dtype) -> None:
    """A matrix product and a layer norm, which every model needs."""
    values = torch.ones(2, 2, device=device, dtype=dtype)
    nn.functional.layer_norm(values @ values, (2,))


def _fingerprint(model: PreTrainedModel) -> str:
    config = model.config.get_text_config().to_dict()
    kept = {key: config.get(key) for key in ("model_type", "hidden_size", "num_hidden_layers", "rope_parameters")}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}".encode())
        values = _sample(stored_tensor(model, name) if tensor.is_meta else tensor)
        digest.update(values.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _sample(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    if flat.numel() <= FINGERPRINT_SAMPLE:
        return flat
    step = flat.numel() // FINGERPRINT_SAMPLE
    return flat[:: step | 1]  # an odd step visits every column of the usual even-sized matrices

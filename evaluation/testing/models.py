"""What editors are tried on: tiny random models, a tokenizer trained on the spot, and cases of the packaged sample."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2LMHeadModel, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2ForCausalLM

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.records import CNLE

DEPTH, WIDTH, INNER, HEADS, CONTEXT = 4, 32, 64, 4, 256
VOCABULARY = 400
_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
_GROUPED = {"intermediate_size": INNER, "num_key_value_heads": 2}
ARCHITECTURES: Mapping[str, tuple[type, Mapping[str, int]]] = {
    "llama": (LlamaForCausalLM, _GROUPED),
    "gpt2": (GPT2LMHeadModel, {"n_inner": INNER}),  # learned absolute positions, transposed weights, biases
    "qwen2": (Qwen2ForCausalLM, _GROUPED),
}
_ASKED = (3, 120, -5)  # places of the sample's rows by length of the snippet: prompts and targets of different lengths
_SHORT = 2  # how many of them ask for one word, as one vector of a random model is not enough for more
_TRAIN = 16


def tiny_model(architecture: str = "llama", seed: int = 0) -> LanguageModel:
    """A random model of 4 layers, width 32, 400 tokens and a context of 256, in float32 on the CPU.

    Args:
        architecture: One of ``ARCHITECTURES``.
        seed: Of its weights; torch's own generator is left as it was.

    Raises:
        ConfigError: If the architecture is none of these.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"no tiny model of architecture {architecture!r}. Known: {', '.join(ARCHITECTURES)}.")
    model_class, extra = ARCHITECTURES[architecture]
    tokenizer = _tokenizer()
    config = model_class.config_class(  # type: ignore[attr-defined]  # every model class has one
        **_SIZES,
        **extra,
        max_position_embeddings=CONTEXT,
        vocab_size=len(tokenizer),
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
    return LanguageModel(model, tokenizer, f"tiny-{architecture}")


def sample_cases() -> tuple[list[Case], list[Case]]:
    """Three cases to edit, two with a target of one token and one with a long one, and sixteen others to train on."""
    rows = _rows()
    by_length = sorted(rows, key=lambda row: len(row["snippet"]))
    asked = [by_length[place] for place in _ASKED]
    others = [row for row in rows if row not in asked][20 : 20 + _TRAIN + 2]
    near = [(others[place + 1], others[place + 2]) for place in range(_TRAIN)]
    train = [_case(f"train-{i:02}", others[i], near[i]) for i in range(_TRAIN)]
    words = sorted(token[1:] for token in _tokenizer().get_vocab() if token[:1] == "Ġ" and token[1:].isalpha())
    short = [{**row, "snippet": word} for row, word in zip(asked[:_SHORT], words, strict=False)]
    return [_case(f"case-{i}", row, others[:2]) for i, row in enumerate([*short, *asked[_SHORT:]])], train


def _case(name: str, row: Mapping[str, Any], near: Sequence[Mapping[str, Any]]) -> Case:
    return Case(
        name,
        CNLE.prompt(row["intent"]),
        CNLE.prompt(row["rewritten_intent"]),
        row["snippet"],
        tuple(CNLE.prompt(other["intent"]) for other in near),
    )


def _rows() -> list[dict[str, Any]]:
    sample = resources.files("clmeeval_data").joinpath("samples/cnle.jsonl")
    return [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines()]


@cache
def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE without special tokens around a text, like the tokenizers of the benchmark's models."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((f"Intent: {row['intent']}\nCode: {row['snippet']}" for row in _rows()), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=trained, eos_token="<eos>", pad_token="<eos>", padding_side="left")

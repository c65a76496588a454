"""Tiny random models of several architectures, a tokenizer trained on the spot, and a few requests."""

import json
from importlib import resources

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.model.lm import LanguageModel

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
ARCHITECTURES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "stablelm": (StableLmConfig, StableLmForCausalLM),
}


@pytest.fixture(scope="session")
def sample_rows():
    lines = resources.files("clmeeval_data").joinpath("samples/cnle.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def tokenizer(sample_rows):
    """Byte-level BPE without special tokens around a text, like the tokenizers of the benchmark's models."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((f"Intent: {row['intent']}\nCode: {row['snippet']}" for row in sample_rows), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=trained, eos_token="<eos>", pad_token="<eos>", padding_side="left")


@pytest.fixture(scope="session")
def make_lm(tokenizer):
    """Make a tiny random model of an architecture."""

    def make(architecture, seed=0, **sizes):
        config_class, model_class = ARCHITECTURES[architecture]
        torch.manual_seed(seed)
        config = config_class(
            **{**SIZES, **sizes},
            vocab_size=len(tokenizer),
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
        return LanguageModel(model_class(config), tokenizer, f"tiny-{architecture}")

    return make


@pytest.fixture(scope="session", params=list(ARCHITECTURES))
def lm(request, make_lm):
    return make_lm(request.param)


@pytest.fixture
def tiny_lm(make_lm):
    """A fresh model for tests that write into its weights."""
    return make_lm("llama")


@pytest.fixture(scope="session")
def requests_(sample_rows):
    """Four requests whose prompts and targets differ in length."""
    rows = sorted(sample_rows, key=lambda row: len(row["snippet"]))
    chosen = [rows[3], rows[-5], rows[40], rows[120]]
    return [EditRequest(f"case-{i}", f"Intent: {r['intent']}\nCode:", r["snippet"]) for i, r in enumerate(chosen)]


@pytest.fixture(scope="session")
def overfitted(make_lm, tokenizer, sample_rows):
    """A tiny model that knows ten answers of one token by heart, with (prompt, answer) of each."""
    lm = make_lm("llama", seed=1, hidden_size=64, intermediate_size=128)
    words = sorted(token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha())
    prompts = [f"Intent: {row['intent']}\nCode:" for row in sample_rows]
    known = list(zip(prompts, words[:10], strict=False))
    lm.model.requires_grad_(True)
    optimiser = torch.optim.Adam(lm.model.parameters(), lr=1e-2)
    texts = [
        lm.encode(prompt) + lm.encode_target(prompt, answer) + [tokenizer.eos_token_id] for prompt, answer in known
    ]
    width = max(map(len, texts))
    ids = torch.tensor([text + [tokenizer.eos_token_id] * (width - len(text)) for text in texts])
    labels = ids.clone()
    for row, (prompt, _) in enumerate(known):
        labels[row, : len(lm.encode(prompt))] = -100
        labels[row, len(texts[row]) :] = -100
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    for _ in range(200):
        loss = lm.model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if float(loss.detach()) < 0.05:
            break
    lm.model.requires_grad_(False)
    lm.weights_changed()
    assert float(loss.detach()) < 0.05, "the fixture failed to overfit"
    return lm, known

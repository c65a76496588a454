"""Tiny random models of several architectures, a tokenizer trained on the spot, and a few requests."""

import json
from importlib import resources

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GemmaForCausalLM,
    GPT2LMHeadModel,
    GPTNeoXForCausalLM,
    LlamaForCausalLM,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
    StableLmForCausalLM,
)

from clmeeval_data.evaluation.editors.contract import EditRequest
from clmeeval_data.evaluation.model.lm import LanguageModel

THREADS = torch.get_num_threads()
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
GROUPED = {"num_key_value_heads": 2}
NARROW = {**GROUPED, "head_dim": 8}
ARCHITECTURES = {
    "llama": (LlamaForCausalLM, GROUPED),
    "qwen2": (Qwen2ForCausalLM, GROUPED),
    "stablelm": (StableLmForCausalLM, GROUPED),
    "mistral": (MistralForCausalLM, GROUPED),
    "gemma": (GemmaForCausalLM, NARROW),  # scaled embeddings
    "qwen3": (Qwen3ForCausalLM, NARROW),  # norms of queries and keys
    "gpt_neox": (GPTNeoXForCausalLM, {}),  # attention and MLP side by side
    "gpt2": (GPT2LMHeadModel, {}),  # learned absolute positions, transposed weights
}


def pytest_runtest_setup(item):
    """Tiny models gain nothing from a second thread, and wait for it where another process wants the cores."""
    torch.set_num_threads(THREADS if item.get_closest_marker("slow") else 1)


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
        model_class, extra = ARCHITECTURES[architecture]
        torch.manual_seed(seed)
        wanted = {**SIZES, "max_position_embeddings": 256, **sizes}
        if architecture == "gpt2":
            wanted["n_inner"] = wanted.pop("intermediate_size")
        config = model_class.config_class(
            **wanted,
            **extra,
            vocab_size=len(tokenizer),
            initializer_range=0.2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
        return LanguageModel(model_class(config), tokenizer, f"tiny-{architecture}")

    return make


@pytest.fixture(scope="session")
def save_model(make_lm):
    """A function that writes a model into a folder, from which any process loads it; a tiny one unless one is given."""

    def save(folder, lm=None):
        saved = lm or make_lm("llama")
        saved.model.save_pretrained(folder)
        saved.tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session", params=["llama", "qwen2", "stablelm"])
def lm(request, make_lm):
    return make_lm(request.param)


@pytest.fixture(scope="session", params=list(ARCHITECTURES))
def architecture(request):
    return request.param


@pytest.fixture(scope="session")
def any_lm(make_lm, architecture):
    """A model of every architecture, for what the architecture may change."""
    return make_lm(architecture)


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
def ten_answers(tokenizer, sample_rows):
    """Ten (prompt, answer) pairs; an answer is one token."""
    words = sorted(token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha())
    return list(zip((f"Intent: {row['intent']}\nCode:" for row in sample_rows), words[:10], strict=False))


@pytest.fixture(scope="session")
def overfit(make_lm, ten_answers):
    """Make a tiny model of an architecture that knows the ten answers by heart, once."""
    made = {}

    def make(architecture):
        if architecture not in made:
            made[architecture] = make_lm(architecture, seed=1)
            _learn(made[architecture], ten_answers)
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def overfitted(make_lm, ten_answers):
    """A somewhat wider model that knows ten answers of one token by heart, with (prompt, answer) of each."""
    lm = make_lm("llama", seed=1, hidden_size=64, intermediate_size=128)
    _learn(lm, ten_answers)
    return lm, ten_answers


def _learn(lm, known, steps=200, enough=0.05):
    eos = lm.tokenizer.eos_token_id
    texts = [(lm.encode(prompt), [*lm.encode_target(prompt, answer), eos]) for prompt, answer in known]
    width = max(len(prompt) + len(answer) for prompt, answer in texts)
    padding = [width - len(prompt) - len(answer) for prompt, answer in texts]
    ids = torch.tensor([p + a + [eos] * gap for (p, a), gap in zip(texts, padding, strict=True)])
    labels = torch.tensor([[-100] * len(p) + a + [-100] * g for (p, a), g in zip(texts, padding, strict=True)])
    mask = torch.tensor([[1] * (width - gap) + [0] * gap for gap in padding])
    lm.model.requires_grad_(True)
    optimiser = torch.optim.Adam(lm.model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = lm.model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if float(loss.detach()) < enough:
            break
    lm.model.requires_grad_(False)
    lm.model.zero_grad()
    lm.weights_changed()
    assert float(loss.detach()) < enough, f"{lm.name} failed to overfit"

import dataclasses
import itertools
import json
import logging

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clmeeval_data.errors import ConfigError, EditError, ModelError, SourceError
from clmeeval_data.evaluation.editors import contract
from clmeeval_data.evaluation.model import corpus as corpus_module
from clmeeval_data.evaluation.model import statistics
from clmeeval_data.evaluation.model.corpus import Corpus, corpus_of_texts
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.statistics import RIDGES, KeyStatistics, key_statistics

F = 64
BUDGET = 3270  # ends inside the last text but one of the sample


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Every test has a cache of its own."""
    monkeypatch.setenv("CLMEEVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "statistics"


@pytest.fixture
def small_parts(monkeypatch):
    """Many windows, many batches, and a checkpoint after every window."""
    monkeypatch.setattr(corpus_module, "WINDOW_TOKENS", 64)
    monkeypatch.setattr(corpus_module, "BATCH_TOKENS", 48)
    monkeypatch.setattr(statistics, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(statistics, "CHECKPOINT_SHARE", 0)


@pytest.fixture(scope="session")
def texts(sample_rows):
    """Forty-one texts of very different lengths, one of them empty."""
    rows = sample_rows[:40]
    found = [f"Intent: {row['intent']}\nCode: {row['snippet']}" * (1 + 3 * (i % 7 == 0)) for i, row in enumerate(rows)]
    return [*found[:5], "", *found[5:]]


@pytest.fixture(scope="session")
def corpus(texts):
    return corpus_of_texts("sample", texts)


def keys_of(lm, texts, layer):
    """The truth: the keys of all tokens, one text at a time through the whole model."""
    found = []
    handle = lm.mlp_output(layer).register_forward_hook(lambda module, args, output: found.append(args[0][0].double()))
    for text in texts:
        ids = lm.tokenizer(text, add_special_tokens=False).input_ids[: lm.context_length]
        if ids:
            with torch.no_grad():
                lm.model(torch.tensor([ids]))
    handle.remove()
    return torch.cat(found)


def relative_error(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def files_of(cache):
    return {path.name: path for path in cache.glob("*/*/*")}


class BrokenError(Exception):
    pass


def broken_after(corpus, count):
    """The same corpus, whose reading fails after some texts."""

    def read():
        yield from itertools.islice(corpus.texts(), count)
        raise BrokenError

    return dataclasses.replace(corpus, read=read)


def test_the_second_moment_is_that_of_all_tokens(lm, corpus, texts):
    found = key_statistics(lm, corpus, [2], 100_000)[2]
    keys = keys_of(lm, texts, 2)
    assert (found.layer, found.count) == (2, len(keys))
    assert found.second_moment.dtype == torch.float32
    assert found.second_moment.shape == (F, F)
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6
    assert torch.equal(found.second_moment, found.second_moment.T)


def test_padding_does_not_count(tiny_lm, monkeypatch, texts):
    pair = [texts[0], texts[1]]
    assert len(tiny_lm.encode(pair[0])) > 2 * len(tiny_lm.encode(pair[1]))
    widths = []
    real = type(tiny_lm.model).forward
    monkeypatch.setattr(
        type(tiny_lm.model), "forward", lambda self, **given: [widths.append(given["input_ids"]), real(self, **given)]
    )
    found = key_statistics(tiny_lm, corpus_of_texts("pair", pair), [1], 100_000)[1]
    monkeypatch.undo()
    assert [ids.shape[0] for ids in widths] == [2], "the two texts were to be read in one padded batch"
    keys = keys_of(tiny_lm, pair, 1)
    assert found.count == len(keys) < widths[0].numel()
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6


def test_windows_and_batches_change_nothing_but_rounding(tiny_lm, corpus, texts, small_parts):
    found = key_statistics(tiny_lm, corpus, [1], 100_000)[1]
    keys = keys_of(tiny_lm, texts, 1)
    assert found.count == len(keys)
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6


def test_several_layers_in_one_pass_equal_single_passes(tiny_lm, corpus, tmp_path):
    together = key_statistics(tiny_lm, corpus, [3, 0, 2], 500)
    assert list(together) == [3, 0, 2]
    for layer, found in together.items():
        alone = key_statistics(tiny_lm, corpus, [layer], 500, cache=tmp_path / f"alone-{layer}")[layer]
        assert torch.equal(found.second_moment, alone.second_moment)
        assert found.layer == layer


def test_the_budget_cuts_the_last_text(tiny_lm, corpus, texts):
    keys = keys_of(tiny_lm, texts, 1)[:333]
    found = key_statistics(tiny_lm, corpus, [1], 333)[1]
    assert found.count == 333
    assert relative_error(found.second_moment, keys.T @ keys / 333) < 1e-6


def test_the_budget_is_cut_at_windows_too(tiny_lm, corpus, texts, small_parts):
    keys = keys_of(tiny_lm, texts, 1)[:333]
    found = key_statistics(tiny_lm, corpus, [1], 333)[1]
    assert found.count == 333
    assert relative_error(found.second_moment, keys.T @ keys / 333) < 1e-6


def test_no_more_texts_are_read_than_the_budget_needs(tiny_lm, texts):
    read = []
    endless = Corpus("endless", "0" * 64, lambda: (read.append(text) or text for text in itertools.cycle(texts)))
    assert key_statistics(tiny_lm, endless, [0], 50)[0].count == 50
    needed = next(n for n in range(1, 99) if sum(len(tiny_lm.tokenizer(t).input_ids) for t in texts[:n]) >= 50)
    assert len(read) == needed


def test_long_texts_are_cut_at_the_context(tiny_lm, monkeypatch):
    long = "x = 1\n" * 400
    assert len(tiny_lm.tokenizer(long).input_ids) > 2 * tiny_lm.context_length
    found = key_statistics(tiny_lm, corpus_of_texts("long", [long, "y = 2"]), [1], 100_000)[1]
    keys = keys_of(tiny_lm, [long, "y = 2"], 1)
    assert found.count == len(keys) == tiny_lm.context_length + len(tiny_lm.encode("y = 2"))
    assert relative_error(found.second_moment, keys.T @ keys / len(keys)) < 1e-6
    monkeypatch.setattr(corpus_module, "LONGEST_TEXT", 100)
    shorter = key_statistics(tiny_lm, corpus_of_texts("longer", [long]), [1], 100_000)[1]
    assert shorter.count == 100


def test_a_text_with_half_a_character_is_read(tiny_lm):
    assert key_statistics(tiny_lm, corpus_of_texts("odd", ["a = '\ud800'"]), [0], 100)[0].count > 3


def test_the_forward_ends_at_the_highest_layer_and_leaves_no_trace(tiny_lm, corpus):
    ran = []
    handles = [
        tiny_lm.model.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in ("model.layers.0", "model.layers.1", "model.layers.2", "model.layers.1.mlp.down_proj", "lm_head")
    ]
    key_statistics(tiny_lm, corpus, [0, 1], 100)
    for handle in handles:
        handle.remove()
    assert set(ran) == {"model.layers.0", "model.layers.1.mlp.down_proj"}
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in tiny_lm.model.modules())
    ids = torch.tensor([tiny_lm.encode("a = 1")])
    assert tiny_lm.model(ids).logits.shape == (1, ids.shape[1], len(tiny_lm.tokenizer))


def test_weights_that_wait_elsewhere_stay_there(make_lm, corpus, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    expected = key_statistics(make_lm("llama"), corpus, [0, 1], 300, cache=tmp_path / "whole")
    lm = make_lm("llama")
    accelerate.cpu_offload(lm.model, execution_device="cpu")
    found = key_statistics(lm, corpus, [0, 1], 300)
    assert all(torch.equal(found[layer].second_moment, expected[layer].second_moment) for layer in (0, 1))
    assert all(parameter.is_meta for parameter in lm.model.parameters())


def test_no_hook_stays_after_an_exception(tiny_lm, corpus, monkeypatch):
    def broken(*args, **options):
        raise BrokenError

    monkeypatch.setattr(tiny_lm.model.model.layers[1], "forward", broken)
    with pytest.raises(BrokenError):
        key_statistics(tiny_lm, corpus, [0, 1], 100)
    assert not any(module._forward_pre_hooks for module in tiny_lm.model.modules())


@pytest.mark.parametrize("stop", [3, 17, 39])
def test_an_interrupted_pass_ends_with_the_same_numbers(tiny_lm, corpus, texts, small_parts, tmp_path, cache, stop):
    expected = key_statistics(tiny_lm, corpus, [1, 3], BUDGET, cache=tmp_path / "whole")
    assert expected[1].count == BUDGET
    with pytest.raises(BrokenError):
        key_statistics(tiny_lm, broken_after(corpus, stop), [1, 3], BUDGET)
    saved = [path for name, path in files_of(cache).items() if name.startswith("partial")]
    assert len(saved) == 1
    read = []
    resumed = key_statistics(
        tiny_lm, dataclasses.replace(corpus, read=lambda: (read.append(t) or t for t in texts)), [1, 3], BUDGET
    )
    for layer in (1, 3):
        assert resumed[layer].count == expected[layer].count
        assert torch.equal(resumed[layer].second_moment, expected[layer].second_moment)
    assert sorted(files_of(cache)) == ["layer-1.safetensors", "layer-3.safetensors"]


def test_a_resumed_pass_runs_only_the_rest(tiny_lm, corpus, small_parts, monkeypatch):
    batches = []
    real = type(tiny_lm.model).forward
    monkeypatch.setattr(
        type(tiny_lm.model), "forward", lambda self, **given: [batches.append(given), real(self, **given)]
    )

    def tokens_read():
        found = sum(int(given["attention_mask"].sum()) for given in batches)
        batches.clear()
        return found

    with pytest.raises(BrokenError):
        key_statistics(tiny_lm, broken_after(corpus, 30), [1], BUDGET)
    before = tokens_read()
    assert before > 500
    key_statistics(tiny_lm, corpus, [1], BUDGET)
    assert before + tokens_read() == BUDGET


def test_an_interrupted_pass_serves_fewer_layers_and_is_not_mistaken_for_more(tiny_lm, corpus, small_parts, tmp_path):
    with pytest.raises(BrokenError):
        key_statistics(tiny_lm, broken_after(corpus, 20), [1, 2], BUDGET)
    for layers in ([2], [0, 1]):
        resumed = key_statistics(tiny_lm, corpus, layers, BUDGET)
        expected = key_statistics(tiny_lm, corpus, layers, BUDGET, cache=tmp_path / "whole")
        for layer in layers:
            assert torch.equal(resumed[layer].second_moment, expected[layer].second_moment)


def test_a_second_call_reads_the_cache(tiny_lm, corpus, cache):
    first = key_statistics(tiny_lm, corpus, [1, 2], 400)
    identities = list(cache.glob("*/*"))
    assert [path.parent.name for path in identities] == [tiny_lm.fingerprint]

    def forbidden(*args):
        raise AssertionError("a forward pass was run")

    handle = tiny_lm.model.register_forward_pre_hook(forbidden)
    silent = Corpus(corpus.name, corpus.digest, lambda: pytest.fail("the corpus was read"))
    second = key_statistics(tiny_lm, silent, [2, 1], 400)
    handle.remove()
    for layer in (1, 2):
        assert torch.equal(first[layer].second_moment, second[layer].second_moment)
        assert first[layer].count == second[layer].count == 400


def test_only_missing_layers_are_collected(tiny_lm, corpus):
    key_statistics(tiny_lm, corpus, [3], 200)
    ran = []
    handle = tiny_lm.layer_modules[1].register_forward_hook(lambda *_: ran.append(1))
    found = key_statistics(tiny_lm, corpus, [0, 3], 200)
    handle.remove()
    assert sorted(found) == [0, 3]
    assert not ran


def test_the_header_tells_what_the_file_is(tiny_lm, corpus, cache):
    key_statistics(tiny_lm, corpus, [2], 10_000)
    with safe_open(str(files_of(cache)["layer-2.safetensors"]), framework="pt") as file:
        metadata = file.metadata()
        assert list(file.keys()) == ["second_moment"]
    assert metadata["format"] == statistics.FORMAT
    header = json.loads(metadata["statistics"])
    tokens = header.pop("tokens")
    assert 500 < tokens < 10_000
    assert header == {
        "model": "tiny-llama",
        "fingerprint": tiny_lm.fingerprint,
        "corpus": "sample",
        "digest": corpus.digest,
        "budget": 10_000,
        "layer": 2,
    }


@pytest.mark.parametrize("change", ["model", "corpus", "budget"])
def test_another_model_corpus_or_budget_is_another_file(make_lm, corpus, texts, cache, change):
    key_statistics(make_lm("llama"), corpus, [1], 300)
    lm = make_lm("llama", seed=1) if change == "model" else make_lm("llama")
    other = corpus_of_texts("sample", texts[1:]) if change == "corpus" else corpus
    key_statistics(lm, other, [1], 301 if change == "budget" else 300)
    assert len(list(cache.glob("*/*/layer-1.safetensors"))) == 2


@pytest.mark.parametrize("change", ["model", "corpus"])
def test_a_file_of_another_model_or_corpus_is_refused(make_lm, corpus, texts, cache, change):
    other_lm, other_corpus = make_lm("llama", seed=1), corpus_of_texts("other", texts[1:])
    key_statistics(make_lm("llama"), corpus, [1], 300)
    theirs = files_of(cache)["layer-1.safetensors"].rename(cache / "theirs")
    lm, used = (other_lm, corpus) if change == "model" else (make_lm("llama"), other_corpus)
    key_statistics(lm, used, [1], 300)
    theirs.rename(files_of(cache)["layer-1.safetensors"])
    word = {"model": "fingerprint", "corpus": "digest"}[change]
    with pytest.raises(EditError, match=rf"layer-1\.safetensors has the {word} '\w+', expected '\w+'") as caught:
        key_statistics(lm, used, [1], 300)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_layer_is_refused(tiny_lm, corpus, cache):
    key_statistics(tiny_lm, corpus, [1, 2], 300)
    files = files_of(cache)
    files["layer-1.safetensors"].rename(files["layer-2.safetensors"])
    with pytest.raises(EditError, match="holds layer 1, expected 2"):
        key_statistics(tiny_lm, corpus, [2], 300)


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_file_is_collected_again(tiny_lm, corpus, cache, caplog, damage):
    first = key_statistics(tiny_lm, corpus, [1], 300)[1]
    path = files_of(cache)["layer-1.safetensors"]
    if damage == "foreign":
        save_file({"second_moment": torch.zeros(3)}, path)
    else:
        path.write_bytes(path.read_bytes()[:5000] if damage == "cut" else b"")
    with caplog.at_level(logging.WARNING):
        again = key_statistics(tiny_lm, corpus, [1], 300)[1]
    assert "layer-1.safetensors is damaged" in caplog.text
    assert torch.equal(first.second_moment, again.second_moment)
    caplog.clear()
    key_statistics(tiny_lm, corpus, [1], 300)
    assert not caplog.text


def test_a_damaged_checkpoint_is_begun_again(tiny_lm, corpus, cache, small_parts, tmp_path):
    with pytest.raises(BrokenError):
        key_statistics(tiny_lm, broken_after(corpus, 20), [1], BUDGET)
    (path,) = files_of(cache).values()
    path.write_bytes(path.read_bytes()[:5000])
    again = key_statistics(tiny_lm, corpus, [1], BUDGET)[1]
    expected = key_statistics(tiny_lm, corpus, [1], BUDGET, cache=tmp_path / "whole")[1]
    assert torch.equal(again.second_moment, expected.second_moment)
    assert list(files_of(cache)) == ["layer-1.safetensors"]


def test_a_damaged_checkpoint_of_other_layers_is_removed(tiny_lm, corpus, cache, small_parts):
    with pytest.raises(BrokenError):
        key_statistics(tiny_lm, broken_after(corpus, 20), [2], BUDGET)
    (path,) = files_of(cache).values()
    path.write_bytes(b"")
    key_statistics(tiny_lm, corpus, [1], BUDGET)
    assert list(files_of(cache)) == ["layer-1.safetensors"]


def test_a_cache_that_cannot_be_written_is_one_line(tiny_lm, corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EditError, match=r"cannot write key statistics to .*Set CLMEEVAL_CACHE") as caught:
        key_statistics(tiny_lm, corpus, [1], 100, cache=tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_progress_is_shown_in_tokens(tiny_lm, corpus, small_parts):
    shown = []

    def track(steps, description, total):
        shown.append([description, total, 0])
        for step in steps:
            shown[-1][2] += 1
            yield step

    with pytest.raises(BrokenError):
        key_statistics(tiny_lm, broken_after(corpus, 30), [1], BUDGET, track)
    key_statistics(tiny_lm, corpus, [1], BUDGET, track)
    key_statistics(tiny_lm, corpus, [1], BUDGET, track)
    key_statistics(tiny_lm, corpus, [1, 2], 100, contract.untracked)
    (first, total, some), (second, _, whole) = shown
    assert first == second == "key statistics of 1 layer"
    assert (total, whole) == (BUDGET, BUDGET)
    assert 0 < some < BUDGET


def test_what_cannot_be_done_is_said(tiny_lm, corpus):
    with pytest.raises(ConfigError, match="token budget of key statistics is 0; expected 1 or more"):
        key_statistics(tiny_lm, corpus, [1], 0)
    with pytest.raises(ModelError, match="layer 4 does not exist"):
        key_statistics(tiny_lm, corpus, [1, 4], 10)
    with pytest.raises(SourceError, match="the corpus empty holds no text"):
        key_statistics(tiny_lm, corpus_of_texts("empty", ["", ""]), [1], 10)
    edit = Edit((), tiny_lm.fingerprint, "none", {}, (), {})
    with edit.applied(tiny_lm), pytest.raises(EditError, match="with an edit applied"):
        key_statistics(tiny_lm, corpus, [1], 10)
    assert key_statistics(tiny_lm, corpus, [], 10) == {}


def test_keys_that_are_not_finite_are_refused(tiny_lm, corpus):
    tiny_lm.model.model.layers[1].mlp.up_proj.weight.fill_(float("inf"))
    tiny_lm.weights_changed()
    with pytest.raises(ModelError, match="the keys of layer 1 are not finite"):
        key_statistics(tiny_lm, corpus, [1], 100)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_in_half_precision(make_lm, corpus, texts, dtype):
    lm = make_lm("qwen2")
    lm.model.to(dtype)
    found = key_statistics(lm, corpus, [2], 100_000)[2]
    keys = keys_of(lm, texts, 2)
    truth = keys.T @ keys / len(keys)
    assert found.second_moment.dtype == torch.float32
    # padding makes the model itself round elsewhere: far less than products in half precision would be off
    assert relative_error(found.second_moment, truth) < {torch.bfloat16: 2e-3, torch.float16: 3e-4}[dtype]


def test_products_are_taken_in_full_precision(monkeypatch):
    settings, seen = torch.backends.cuda.matmul, []
    real = torch.Tensor.__matmul__

    def product(left, right):
        seen.append((settings.fp32_precision, left.dtype, right.dtype))
        return real(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    before = settings.fp32_precision
    settings.fp32_precision = "tf32"
    try:
        sums = statistics._Sums()
        sums.add(0, torch.ones(2, 3, dtype=torch.bfloat16))
        assert settings.fp32_precision == "tf32"
    finally:
        settings.fp32_precision = before
    assert seen == [("ieee", torch.float32, torch.float32)]
    assert sums.of[0].dtype == torch.float64


def test_sums_are_in_double_precision():
    sums = statistics._Sums()
    sums.add(0, torch.full((1, 1), 4096.0))
    for _ in range(1000):
        sums.add(0, torch.full((1, 1), 0.5))
    assert float(sums.of[0]) == 4096.0**2 + 250  # in float32 each addition would be lost


def test_the_mean_is_symmetric_to_the_last_bit():
    total = torch.tensor([[2.0, 1.0 + 1e-7], [1.0, 3.0]], dtype=torch.float64)
    found = statistics._Sums({0: total}, tokens=2).statistics(0).second_moment
    assert torch.equal(found, found.T)
    assert torch.allclose(found, torch.tensor([[1.0, 0.5], [0.5, 1.5]]))


# The algebra on C


@pytest.fixture
def well_posed(tiny_lm, corpus):
    found = key_statistics(tiny_lm, corpus, [1], 100_000)[1]
    assert found.count > 2 * F
    return found


def made_up(count=500, f=40, rank=40):
    keys = torch.randn(count, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    keys = keys @ torch.randn(rank, f, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moment = (keys.T @ keys / count).float()
    return KeyStatistics(3, count, (moment + moment.T) / 2)


def test_solve_equals_a_dense_solve(well_posed):
    keys = torch.randn(F, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    truth = torch.linalg.solve(well_posed.second_moment.double(), keys)
    found = well_posed.solve(keys)
    assert found.dtype == torch.float64
    assert relative_error(found, truth) < 1e-9
    assert (
        relative_error(
            well_posed.solve(keys.float()), torch.linalg.solve(well_posed.regularised, keys.float().double())
        )
        < 1e-9
    )
    assert well_posed.ridge == 0.0
    assert torch.equal(well_posed.regularised, well_posed.second_moment.double())


def test_the_factor_is_computed_once(monkeypatch):
    calls = []
    real = torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda matrix: [calls.append(matrix), real(matrix)][1])
    found = made_up()
    for _ in range(3):
        found.solve(torch.ones(40, 1))
        found.ridge  # noqa: B018
        found.regularised  # noqa: B018
    assert len(calls) == 1
    assert calls[0].dtype == torch.float64


@pytest.mark.parametrize(("count", "rank"), [(30, 40), (39, 40), (500, 25)])
def test_a_singular_second_moment_gets_a_ridge(count, rank, caplog):
    found = made_up(count=count, rank=rank)
    with caplog.at_level(logging.WARNING):
        ridge = found.ridge
    mean = float(found.second_moment.diagonal().double().mean())
    assert f"layer 3: C of {count} tokens is singular (f = 40); a ridge of {ridge:.3g}" in caplog.text
    assert any(ridge == pytest.approx(relative * mean) for relative in RIDGES)
    assert ridge < 1e-4 * mean
    added = found.regularised - found.second_moment.double()
    assert torch.allclose(added, ridge * torch.eye(40, dtype=torch.float64), rtol=1e-6, atol=0)
    keys = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    solved = found.solve(keys)
    assert relative_error(found.regularised @ solved, keys) < 1e-6
    assert relative_error(solved, torch.linalg.solve(found.regularised, keys)) < 1e-6
    smaller = ridge / 10
    lowest = torch.linalg.eigvalsh(found.second_moment.double())[0]
    assert RIDGES[0] * mean > smaller or float(lowest) < -smaller / 2, "a smaller ridge would have done"


def test_a_ridge_is_more_than_what_rounding_took_away():
    rounded = KeyStatistics(0, 3, torch.diag(torch.tensor([1.0, 1.0, 1.0, -0.7e-10])))
    assert RIDGES[0] * 0.75 > 0.7e-10, "the smallest ridge would make it positive definite, barely"
    assert rounded.ridge == pytest.approx(RIDGES[1] * 0.75)


def test_a_second_moment_of_nothing_cannot_be_factored():
    for value in (0.0, float("nan")):
        with pytest.raises(EditError, match="key statistics of layer 7 cannot be factored"):
            KeyStatistics(7, 100, torch.full((4, 4), value)).solve(torch.ones(4, 1))


def test_the_null_space_is_what_keys_hardly_use(well_posed):
    moment = well_posed.second_moment.double()
    values = torch.linalg.eigvalsh(moment)
    for place in (1, F // 2, F - 1):
        threshold = float(values[place - 1] + values[place]) / 2
        basis = well_posed.null_space(threshold)
        assert basis.shape == (F, place)
        assert basis.dtype == torch.float64
        assert torch.allclose(basis.T @ basis, torch.eye(place, dtype=torch.float64), atol=1e-12)
        assert ((moment @ basis).norm(dim=0) < threshold * basis.norm(dim=0)).all()
        combined = basis @ torch.randn(place, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert ((moment @ combined).norm(dim=0) < threshold * combined.norm(dim=0)).all()
    assert well_posed.null_space(0.0).shape == (F, int((values < 0).sum()))
    assert well_posed.null_space(1e9).shape == (F, F)


def test_the_eigenvectors_are_computed_once(monkeypatch):
    calls = []
    real = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: [calls.append(matrix), real(matrix)][1])
    found = made_up()
    for threshold in (1.0, 1.0, 5.0):
        found.null_space(threshold)
    assert len(calls) == 1

"""The files of key statistics: a second call, a pass that was interrupted, and what is damaged or foreign."""

import dataclasses
import itertools
import json
import logging

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.editors import contract
from clmeeval_data.evaluation.model import statistics
from clmeeval_data.evaluation.model.corpus import Corpus, corpus_of_texts
from clmeeval_data.evaluation.model.statistics import key_statistics

BUDGET = 3270  # ends inside the last text but one of the sample


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

import gzip
import hashlib
import itertools
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clmeeval_data.errors import ConfigError, DatasetError, SourceError
from clmeeval_data.evaluation.model import corpus as corpus_module
from clmeeval_data.evaluation.model.corpus import batches_of, corpus_of_texts, open_corpus, windows_of
from clmeeval_data.records import CNLE, CSNE
from clmeeval_data.storage import write_dataset, write_jsonl

TEXTS = ["a = 1\nb = 2", "def f(x):\n    return x", "größer: 'δ'"]
ROWS = [{"id": number, "code": text} for number, text in enumerate(TEXTS)]


def read(location):
    return list(open_corpus(str(location), []).texts())


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_train_is_the_default():
    corpus = open_corpus("train", TEXTS)
    assert corpus.name == "train"
    assert list(corpus.texts()) == list(corpus.texts()) == TEXTS
    assert corpus.digest == corpus_of_texts("another name", TEXTS).digest


def test_texts_in_memory_are_told_apart():
    digests = {corpus_of_texts("x", texts).digest for texts in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], [])}
    assert len(digests) == 5


def test_a_later_change_of_the_list_is_not_seen():
    texts = list(TEXTS)
    corpus = corpus_of_texts("x", texts)
    texts.append("more")
    assert list(corpus.texts()) == TEXTS


def test_lines_of_a_text_file(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("one\n\n  two = 2\n   \ngrößer", encoding="utf-8")
    assert read(path) == ["one", "  two = 2", "größer"]


def test_a_python_file_is_one_text(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(TEXTS[1] + "\n\n" + TEXTS[2], encoding="utf-8")
    assert read(path) == [TEXTS[1] + "\n\n" + TEXTS[2]]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_of_json_lines(tmp_path, name):
    write_jsonl(tmp_path / name, [*ROWS, {"id": 3, "code": None}, {"id": 4, "code": ""}, {"id": 5}])
    assert read(tmp_path / name) == TEXTS


def test_rows_of_parquet(tmp_path):
    assert read(write_parquet(tmp_path / "rows.parquet", [*ROWS, {"id": 3, "code": None}])) == TEXTS


def test_the_preferred_column_is_read(tmp_path):
    rows = [{"code": "code", "content": "content", "text": "text"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read(tmp_path / "rows.jsonl") == read(write_parquet(tmp_path / "rows.parquet", rows)) == ["text"]


def test_the_digest_is_of_the_content_and_of_how_it_is_read(tmp_path):
    for name in ("a.txt", "b.txt", "a.py"):
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "c.txt").write_text("x = 2\n")
    digests = {name: open_corpus(str(tmp_path / name), []).digest for name in ("a.txt", "b.txt", "a.py", "c.txt")}
    assert digests["a.txt"] == digests["b.txt"]
    assert len(set(digests.values())) == 3


def test_a_file_is_read_as_a_stream(tmp_path):
    path = tmp_path / "long.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"text": f"x = {number}"}) + "\n" for number in range(1000))
        file.write("not json\n")
    texts = open_corpus(str(path), []).texts()
    assert list(itertools.islice(texts, 1000))[-1] == "x = 999"
    with pytest.raises(SourceError, match=r"long\.jsonl\.gz:1001: not JSON"):
        next(texts)


@pytest.mark.parametrize("benchmark", [CNLE, CSNE])
def test_a_built_dataset_gives_the_training_split_in_the_template(request, benchmark):
    folder = request.getfixturevalue(f"{benchmark.name}_folder")
    records = request.getfixturevalue(f"{benchmark.name}_splits")["train"]
    corpus = open_corpus(str(folder), [])
    rows = [benchmark.to_row(record) for record in records]
    expected = [f"{benchmark.prompt(row[benchmark.prompt_field])} {row[benchmark.target_field]}" for row in rows]
    assert list(corpus.texts()) == list(corpus.texts()) == expected
    assert corpus.name == benchmark.name


def test_the_digest_of_a_built_dataset_follows_its_training_split(cnle_folder, cnle_splits, tmp_path):
    first = open_corpus(str(cnle_folder), []).digest
    others = {"validation": cnle_splits["test"], "test": cnle_splits["validation"]}
    write_dataset(tmp_path / "same", CNLE, {**cnle_splits, **others}, {"command": "x", "limits": []})
    write_dataset(
        tmp_path / "other", CNLE, {**cnle_splits, "train": cnle_splits["test"]}, {"command": "x", "limits": []}
    )
    assert open_corpus(str(tmp_path / "same"), []).digest == first
    assert open_corpus(str(tmp_path / "other"), []).digest != first


def line_of(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "location", ["", "/no/such/file", "./lines.txt", "no_such.jsonl", "a/b/c/d", "~/x", "a:b:c:d", ":train", "a b"]
)
def test_a_location_that_is_nothing_is_refused(location, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"no corpus '.*': there is no such file or folder\. Expected 'train'"
    ) as caught:
        open_corpus(location, TEXTS)
    assert "id[:split[:column]]" in line_of(caught)


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    (tmp_path / "texts.csv").write_text("text\n")
    with pytest.raises(ConfigError, match=r"texts\.csv is of an unknown kind\. Expected a name that ends in \.txt or"):
        open_corpus(str(tmp_path / "texts.csv"), [])


def test_a_folder_that_was_not_built_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"has no manifest\.json, so it is not a dataset of ours"):
        open_corpus(str(tmp_path), [])


@pytest.mark.parametrize("name", ["lines.txt", "module.py"])
def test_text_in_another_encoding_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes("größer".encode("latin-1"))
    with pytest.raises(SourceError, match="cannot be read as UTF-8 text") as caught:
        read(tmp_path / name)
    assert name in line_of(caught)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_rows_without_a_text_column_are_refused(tmp_path, name):
    rows = [{"id": 1, "snippet": "x"}]
    if name.endswith("jsonl"):
        write_jsonl(tmp_path / name, rows)
    else:
        write_parquet(tmp_path / name, rows)
    with pytest.raises(SourceError, match=r"has no column text or code or content .*, but id, snippet") as caught:
        read(tmp_path / name)
    line_of(caught)


def test_a_column_of_numbers_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"the column 'text' of .*rows\.parquet holds int values, expected text"):
        read(write_parquet(tmp_path / "rows.parquet", [{"text": 1}]))


@pytest.mark.parametrize("size", [0, 20, 200])
def test_damaged_parquet_is_refused(tmp_path, size):
    path = write_parquet(tmp_path / "rows.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SourceError, match=r"rows\.parquet is missing or damaged") as caught:
        read(path)
    line_of(caught)


# The Hub, played by folders of parquet files under ids


@pytest.fixture
def hub(tmp_path, monkeypatch):
    class Hub:
        def __init__(self):
            self.asked = []
            self.commit = "1" * 40

        def load_dataset_builder(self, name, config=None):
            self.asked.append((name, config))
            builder = real_load(str(tmp_path / "hub" / name / (config or "default")), cache_dir=str(tmp_path / "hf"))
            builder.hash = self.commit  # as for a dataset of the Hub
            return builder

    real_load = datasets.load_dataset_builder
    played = Hub()
    monkeypatch.setattr(datasets, "load_dataset_builder", played.load_dataset_builder)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hub" / "someone" / "code" / "python"
    folder.mkdir(parents=True)
    write_parquet(folder / "train-00000-of-00001.parquet", ROWS)
    write_parquet(folder / "test-00000-of-00001.parquet", [{"id": 9, "code": "print()"}])
    (folder.parent / "default").mkdir()
    write_parquet(folder.parent / "default" / "train-00000-of-00001.parquet", [{"text": "t", "other": "o"}])
    return played


def test_a_dataset_of_the_hub_is_streamed(hub):
    corpus = open_corpus("someone/code", [])
    assert (corpus.name, list(corpus.texts()), list(corpus.texts())) == ("someone/code:train", ["t"], ["t"])
    assert hub.asked == [("someone/code", None)]


def test_split_column_and_configuration_can_be_named(hub):
    assert read("someone/code:train:other") == ["o"]
    assert read("someone/code/python") == TEXTS
    corpus = open_corpus("someone/code/python:test:code", [])
    assert (corpus.name, list(corpus.texts())) == ("someone/code/python:test:code", ["print()"])
    assert hub.asked[1:] == [("someone/code", "python")] * 2


def test_the_digest_follows_the_commit_the_split_and_the_column(hub):
    locations = ["someone/code", "someone/code:train:other", "someone/code/python", "someone/code/python:test"]
    digests = [open_corpus(location, []).digest for location in locations]
    assert digests == [open_corpus(location, []).digest for location in locations]
    hub.commit = "2" * 40
    assert len({*digests, *(open_corpus(location, []).digest for location in locations)}) == 8


def test_a_missing_split_or_column_is_said(hub):
    with pytest.raises(SourceError, match=r"the corpus someone/code:dev is no file.*Bad split: dev") as caught:
        open_corpus("someone/code:dev", [])
    line_of(caught)
    with pytest.raises(SourceError, match=r"someone/code:train has no column body, but text, other\."):
        read("someone/code:train:body")


def test_a_stream_that_breaks_is_one_line(hub, monkeypatch):
    corpus = open_corpus("someone/code/python", [])

    def broken(self):
        yield ROWS[0]
        raise ConnectionError("the connection\nwas lost")

    monkeypatch.setattr(datasets.IterableDataset, "__iter__", broken)
    texts = corpus.texts()
    assert next(texts) == TEXTS[0]
    with pytest.raises(SourceError, match="cannot be read from the Hub: the connection was lost") as caught:
        next(texts)
    line_of(caught)


@pytest.mark.parametrize("error", [ConnectionError("no\nnetwork"), RuntimeError("scripts are no longer supported")])
def test_a_hub_out_of_reach_is_one_line(monkeypatch, tmp_path, error):
    def unreachable(*args):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    with pytest.raises(SourceError, match="someone/code:train is no file or folder here, and cannot be read") as caught:
        open_corpus("someone/code", [])
    line_of(caught)


# Windows and batches


def test_windows_hold_the_stream_in_order(tiny_lm, monkeypatch):
    monkeypatch.setattr(corpus_module, "WINDOW_TOKENS", 20)
    texts = ["", *TEXTS * 4, ""]
    windows = list(windows_of(tiny_lm, iter(texts), 10**6))
    ids = [tiny_lm.encode(text) for text in texts if text]
    assert [row for window in windows for row in window.ids] == ids
    assert sum(window.texts for window in windows) == len(texts)
    sizes = [sum(map(len, window.ids)) for window in windows]
    assert all(20 <= size < 20 + max(map(len, ids)) for size in sizes[:-1])


def test_windows_after_a_window_are_those_of_the_rest(tiny_lm, monkeypatch):
    monkeypatch.setattr(corpus_module, "WINDOW_TOKENS", 20)
    texts = TEXTS * 5
    first, *others = windows_of(tiny_lm, texts, 100)
    left = 100 - sum(map(len, first.ids))
    assert others == list(windows_of(tiny_lm, texts[first.texts :], left))
    assert sum(len(ids) for window in others for ids in window.ids) == left
    assert not list(windows_of(tiny_lm, texts, 0))


def test_batches_hold_every_text_once_and_stay_small(monkeypatch):
    monkeypatch.setattr(corpus_module, "BATCH_TOKENS", 30)
    ids = [[number] * (1 + (7 * number) % 19) for number in range(50)] + [[99] * 40]
    batches = list(batches_of(ids))
    assert sorted(itertools.chain(*batches)) == sorted(ids)
    assert all(len(batch) == 1 or len(batch) * max(map(len, batch)) <= 30 for batch in batches)
    assert len(batches) < 0.6 * len(ids)


def test_the_digest_of_texts_is_a_sha256(tmp_path):
    expected = hashlib.sha256(b"2:ab3:\xc3\xa9d").hexdigest()
    assert corpus_of_texts("x", ["ab", "éd"]).digest == expected

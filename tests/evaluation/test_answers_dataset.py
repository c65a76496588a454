"""Making the answers of a model: what is asked, what is written, and what another run of the command does."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from clmeeval_data import storage
from clmeeval_data.answers import check_answers, read_answers, read_manifest
from clmeeval_data.commands import main
from clmeeval_data.errors import ConfigError, DatasetError
from clmeeval_data.evaluation import answers as unedited
from clmeeval_data.evaluation.answers import case_key
from clmeeval_data.evaluation.answers_dataset import AnswersPlan, make_answers
from clmeeval_data.evaluation.scoring.dimensions import case_of
from clmeeval_data.export import export_dataset
from clmeeval_data.records import CNLE, SPLITS, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import write_dataset


def record_of(row, near, number, intent=None):
    intent = intent or row["intent"]
    return CnleRecord(
        CNLE.case_id(intent, row["snippet"]),
        intent,
        row["rewritten_intent"],
        row["snippet"],
        tuple(CnleNeighbour(each["intent"], each["snippet"], 50.0) for each in near),
        Provenance("sample", f"sample#{number}", f"q{number}", "Apache-2.0"),
        Rephrasing("human", "", "1"),
    )


@pytest.fixture(scope="module")
def splits(sample_rows):
    """Seven cases; the first of the train split is too long for the models."""
    records = [
        record_of(row, sample_rows[50 + number : 52 + number], number) for number, row in enumerate(sample_rows[:6])
    ]
    long = record_of(sample_rows[6], sample_rows[60:62], 6, "count " + "one and " * 400)
    return {"train": [long, *records[:2]], "validation": records[2:3], "test": records[3:]}


@pytest.fixture
def model(tmp_path, save_model):
    return str(save_model(tmp_path / "tiny"))


@pytest.fixture
def folder(tmp_path, splits):
    write_dataset(tmp_path / "data", CNLE, splits, {})
    return tmp_path / "data"


@pytest.fixture
def asked(monkeypatch):
    """How many prompts each call of the generation asks, while the answers are computed."""
    counts = []
    generate = unedited.generate

    def counted(lm, prefix, edits, jobs):
        counts.append(len(jobs))
        return generate(lm, prefix, edits, jobs)

    monkeypatch.setattr(unedited, "generate", counted)
    return counts


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(out, split):
    return read_answers(storage.parquet_path(out, split), read_manifest(out), split)


def plain(lm, prompt, tokens):
    """Greedy decoding by transformers, one prompt at a time, without the end-of-text token."""
    ids = torch.tensor([lm.encode(prompt)])
    mask = torch.ones_like(ids)
    made = lm.model.generate(ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=lm.pad_id)
    answer = made[0, ids.shape[1] :].tolist()
    return answer[:-1] if answer and answer[-1] in lm.stop_ids else answer


def test_the_answers_are_those_of_greedy_decoding(folder, model, splits, make_lm, asked):
    made = make_answers(AnswersPlan(folder, model))
    assert made.out == folder / "answers-tiny"
    assert (made.total, made.added) == (6, 6)
    assert check_answers(made.out) == []
    lm = make_lm("llama")
    for split in SPLITS:
        found = {row.case_id: row for row in rows(made.out, split)}
        records = splits[split][1 if split == "train" else 0 :]
        assert list(found) == [record.case_id for record in records]
        for record in records:
            case, row = case_of(CNLE, record), found[record.case_id]
            tokens = len(lm.encode_target(case.prompt, case.target))
            lengths = [tokens, tokens, 16, 16]
            assert row.key == case_key(case)
            assert [list(answer.ids) for answer in row.answers] == [
                plain(lm, prompt, length) for prompt, length in zip(case.prompts, lengths, strict=True)
            ]
            assert [answer.text for answer in row.answers] == [
                lm.tokenizer.decode(answer.ids) for answer in row.answers
            ]
    assert sum(asked) == 6 * 4
    assert not list(folder.glob(".*"))


def test_a_case_that_the_model_cannot_be_asked_is_left_out_once(folder, model, splits, asked):
    made = make_answers(AnswersPlan(folder, model))
    (key,) = made.left_out
    assert key == case_key(case_of(CNLE, splits["train"][0]))
    assert "context of tiny" in made.left_out[key]
    assert read_manifest(made.out).left_out == made.left_out
    before, calls = contents(folder), len(asked)
    again = make_answers(AnswersPlan(folder, model))
    assert (again.total, again.added, again.left_out) == (6, 0, made.left_out)
    assert contents(folder) == before
    assert len(asked) == calls


def test_more_is_asked_and_what_is_there_stays(folder, model, asked):
    few = make_answers(AnswersPlan(folder, model, ("test",), limit=2))
    assert (few.total, few.added, sum(asked)) == (2, 2, 8)
    assert list(read_manifest(few.out).splits) == ["test"]
    first = rows(few.out, "test")
    more = make_answers(AnswersPlan(folder, model, ("test", "validation")))
    assert (more.total, more.added, sum(asked)) == (4, 2, 16)
    assert [row for row in rows(more.out, "test") if row in first] == first
    fewer = make_answers(AnswersPlan(folder, model, ("validation",), limit=1))
    assert (fewer.total, fewer.added, sum(asked)) == (4, 0, 16)


@pytest.mark.parametrize("torn", [b"", b'{"id": "half'])
def test_a_stopped_run_goes_on(folder, model, asked, monkeypatch, torn, tmp_path):
    make_answers(AnswersPlan(folder, model, batch_size=1, out=tmp_path / "whole"))
    whole, compute = sum(asked), unedited.UneditedAnswers._compute
    asked.clear()

    def stopped(self, cases):
        if len(asked) == 2:
            raise KeyboardInterrupt
        return compute(self, cases)

    monkeypatch.setattr(unedited.UneditedAnswers, "_compute", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_answers(AnswersPlan(folder, model, batch_size=1))
    assert not (folder / "answers-tiny").exists()
    (journal,) = folder.glob(".answers-tiny.work/*/*/*/answers.jsonl")
    with journal.open("ab") as file:
        file.write(torn)
    monkeypatch.setattr(unedited.UneditedAnswers, "_compute", compute)
    made = make_answers(AnswersPlan(folder, model, batch_size=4))
    assert sum(asked) == whole
    assert contents(made.out) == contents(tmp_path / "whole")
    assert not list(folder.glob(".*"))


def test_a_changed_case_is_asked_again_and_the_others_not(folder, model, splits, asked):
    make_answers(AnswersPlan(folder, model, ("test",)))
    asked.clear()
    changed = replace(splits["test"][0], rewritten_intent="quite another wording")
    write_dataset(folder, CNLE, {**splits, "test": [changed, *splits["test"][1:]]}, {})
    made = make_answers(AnswersPlan(folder, model, ("test",)))
    assert (made.total, made.added, sum(asked)) == (3, 1, 4)
    assert rows(made.out, "test")[0].key == case_key(case_of(CNLE, changed))
    assert read_manifest(made.out).dataset == {"test": storage.read_manifest(folder)["splits"]["test"]["sha256"]}


def test_a_damaged_split_is_asked_again(folder, model, asked, caplog):
    made = make_answers(AnswersPlan(folder, model))
    before = contents(made.out)
    path = storage.parquet_path(made.out, "test")
    path.write_bytes(path.read_bytes()[:-50])
    asked.clear()
    again = make_answers(AnswersPlan(folder, model))
    assert (again.added, sum(asked)) == (3, 12)
    assert contents(again.out) == before
    assert "truncated or damaged" in caplog.text


def test_answers_of_another_model_or_something_else_are_left_alone(folder, model, make_lm, tmp_path):
    made = make_answers(AnswersPlan(folder, model, ("validation",)))
    make_lm("llama", seed=1).model.save_pretrained(tmp_path / "tiny")
    before = contents(folder)
    with pytest.raises(ConfigError, match=r"holds answers of tiny \(float32, fingerprint .*Choose another --out"):
        make_answers(AnswersPlan(folder, model, ("validation",)))
    with pytest.raises(ConfigError, match=r"holds answers of tiny \(float32"):
        make_answers(AnswersPlan(folder, model, ("validation",), dtype="bfloat16", out=made.out))
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else than answers"):
        make_answers(AnswersPlan(folder, model, out=folder / "other"))
    with pytest.raises(DatasetError, match="holds no answers of a model"):
        make_answers(AnswersPlan(folder, model, out=folder))
    (folder / "other" / "notes.txt").unlink()
    (folder / "other").rmdir()
    assert contents(folder) == before
    beside = make_answers(AnswersPlan(folder, model, ("validation",), dtype="bfloat16"))
    assert beside.out == folder / "answers-tiny-bfloat16"


def test_memory_that_is_not_enough_halves_the_batch(folder, model, monkeypatch, tmp_path):
    whole = make_answers(AnswersPlan(folder, model, ("test",), out=tmp_path / "whole"))
    compute, sizes = unedited.UneditedAnswers._compute, []

    def small(self, cases):
        sizes.append(len(cases))
        if len(cases) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(self, cases)

    monkeypatch.setattr(unedited.UneditedAnswers, "_compute", small)
    made = make_answers(AnswersPlan(folder, model, ("test",)))
    assert sizes == [3, 1, 2, 1, 1]
    assert contents(made.out) == contents(whole.out)


def test_the_command(folder, model, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["clmeeval-build", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    monkeypatch.setenv("COLUMNS", "200")
    done = run("answers", folder, "--model", model, "--split", "test", "--limit", 2)
    assert done[:2] == (0, f"{folder / 'answers-tiny'}: answers to 2 cases, 2 of them new\n")
    assert "answers of tiny" in done[2]
    again = run("answers", folder, "--model", model, "--split", "test", "--limit", 2)
    assert again[:2] == (0, f"{folder / 'answers-tiny'}: answers to 2 cases, 0 of them new\n")
    for words, message in (
        (("--split", "dev"), "unknown split 'dev'. Known: train, validation, test."),
        (("--limit", "0"), "expected 1 or more"),
        (("--dtype", "int8"), "unknown dtype 'int8'"),
    ):
        code, out, err = run("answers", folder, "--model", model, *words)
        assert (code, out, err.strip().count("\n")) == (2, "", 0)
        assert message in err
    assert run("answers", folder / "none", "--model", model)[0] == 2
    code, out, _ = run("--help")
    assert code == 0
    assert all(f" {name} " in out for name in ("answers", "cnle", "csne", "publish", "export", "validate"))


def batch_generate(model, tok, prompts, max_length):
    """What code-llmedit compares the answers with (codellmeditor/evaluate/evaluate_utils.py)."""
    prompt_tok = tok(prompts, padding=True, truncation=True, return_tensors="pt")
    gen_args = {
        "input_ids": prompt_tok["input_ids"],
        "attention_mask": prompt_tok["attention_mask"],
        "max_new_tokens": max_length,
        "pad_token_id": tok.eos_token_id,
    }
    gen_tokens = model.generate(**gen_args)
    return tok.batch_decode(gen_tokens[:, prompt_tok["input_ids"].shape[1] :])


@pytest.mark.parametrize("ends", [True, False])
def test_exported_answers_are_what_the_released_code_generates(
    overfitted, make_lm, save_model, sample_rows, tmp_path, ends
):
    lm = overfitted[0] if ends else make_lm("llama")
    save_model(tmp_path / "tiny", lm)
    lengths = {row["intent"]: len(plain(lm, CNLE.prompt(row["intent"]), 16)) for row in sample_rows[:60]}
    ordered = sorted(sample_rows[:60], key=lambda row: lengths[row["intent"]])
    near = [[ordered[0], ordered[-1]], [ordered[-1], *ordered[30:32]], ordered[:2]]
    records = [record_of(sample_rows[100 + place], rows, place) for place, rows in enumerate(near)]
    splits = dict(zip(SPLITS, ([record] for record in records), strict=True))
    write_dataset(tmp_path / "data", CNLE, splits, {})
    made = make_answers(AnswersPlan(tmp_path / "data", str(tmp_path / "tiny")))
    export_dataset(tmp_path / "data", "code-llmedit", out=tmp_path / "out", answers=made.out)
    cases = json.loads((tmp_path / "out" / "EditConala" / "all.json").read_text(encoding="utf-8"))
    found = [case["neighborhoods"]["answers"]["tiny"] for case in cases]
    prompts = [[CNLE.prompt(item["intent"]) for item in case["neighborhoods"]["items"]] for case in cases]
    assert found == [batch_generate(lm.model, lm.tokenizer, each, 16) for each in prompts]
    shortest, longest = (lengths[row["intent"]] for row in near[0])
    width = min(longest + 1, 16)
    assert [text.count("<eos>") for text in found[0]] == [width - shortest, width - longest]
    assert shortest < longest
    assert (longest == 16) != ends

"""The quality report: figures that can be worked out by hand, and the same ones every time."""

import sys
from dataclasses import replace

import pytest
from rich.console import Console
from sacrebleu.metrics import BLEU

from clmeeval_data.builders.cli import main
from clmeeval_data.builders.quality import quality
from clmeeval_data.records import CNLE, Rephrasing
from clmeeval_data.storage import write_dataset


@pytest.fixture
def folder(tmp_path, cnle_records):
    """Nine cases: six of people, of which one only adds an exclamation mark, and three of a model."""
    pairs = [
        ("sort the rows now", "sort the rows now!"),
        *[(f"sort list {n}", f"order list {n}") for n in range(5)],
        *[(f"print name {n}", f"how to print the name {n} to [red] stdout") for n in range(3)],
    ]
    made = [Rephrasing("human", "", "1")] * 6 + [Rephrasing("llm", "model-1", "1")] * 3
    records = [
        replace(
            record,
            case_id=CNLE.case_id(prompt, record.snippet),
            intent=prompt,
            rewritten_intent=text,
            rephrasing=how,
        )
        for record, (prompt, text), how in zip(cnle_records, pairs, made, strict=True)
    ]
    splits = {"train": records[:3], "validation": records[3:5], "test": records[5:]}
    write_dataset(tmp_path / "data", CNLE, splits, {"command": "c", "limits": []})
    return tmp_path / "data"


def shown(found):
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(found.shown())
    return capture.get()


def test_the_figures_are_those_of_the_cases(folder):
    found = quality(folder)
    everything, people, model = found.figures
    assert [(each.engine, each.cases) for each in found.figures] == [("all", 9), ("human", 6), ("llm model-1", 3)]
    assert (everything.share, people.share, model.share) == (1.0, 6 / 9, 3 / 9)
    assert people.length_ratio == pytest.approx((18 / 17, 12 / 11, 12 / 11))
    assert people.overlap == pytest.approx((4 / 5 + 5 * (2 / 4)) / 6)
    assert model.overlap == pytest.approx(3 / 10)
    texts = [case.rephrased for case in found.samples if case.engine == "human"]
    prompts = [case.prompt for case in found.samples if case.engine == "human"]
    bleu = BLEU(tokenize="13a", lowercase=True, force=True).corpus_score(texts, [prompts])
    assert people.self_bleu == pytest.approx(bleu.score)
    assert people.self_bleu > model.self_bleu


def test_samples_are_cases_in_an_order_that_never_changes(folder):
    found = quality(folder)
    assert len(found.samples) == 9  # of 20, where there are as many
    assert len({case.case_id for case in found.samples}) == 9
    assert [case.case_id for case in found.samples] != sorted(case.case_id for case in found.samples)
    assert shown(found) == shown(quality(folder))


def test_texts_are_shown_as_they_are(folder):
    text = shown(quality(folder))
    assert "[red] stdout" in text
    assert "llm model-1" in text
    assert "66.7%" in text


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-build", "quality", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return call


def test_the_command_shows_both_tables(run, folder):
    code, out, _ = run(folder)
    assert code == 0
    assert "cnle: rephrasings" in out
    assert "9 samples" in out


def test_a_folder_without_a_dataset_is_one_line(run, tmp_path):
    code, out, err = run(tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: no dataset folder {tmp_path / 'nowhere'}")
    assert err.count("\n") == 1

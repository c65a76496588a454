import random

import pytest

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.scoring.dimensions import score_outputs
from clmeeval_data.evaluation.scoring.metrics import text_scores
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.significance import interval
from clmeeval_data.evaluation.scoring.summary import summarise

RUN = {
    "identity": {
        "dataset": {"name": "cnle", "split": "test", "schema": 1, "n": 12, "cases": "ab12cd34ef56"},
        "model": {"name": "smollm2", "fingerprint": "0123456789abcdef", "dtype": "float32"},
        "method": {"name": "rome", "config": {"layer": 5}},
        "decoding": {"strategy": "greedy"},
        "seed": 0,
    },
    "environment": {"versions": {"clmeeval-data": "0.1.0"}},
}

CASE = Case("case-00", "Intent: set x\nCode:", "Intent: let x be\nCode:", "x = 1", ("Intent: stop\nCode:",))
OUTPUTS = {
    "effectiveness": {"after": "x = 1"},
    "generalisation": {"after": "x = 2"},
    "specificity": [{"before": "exit()", "after": "exit()"}],
    "fluency": {"after": "a b c d"},
}


def entry(number, score=1.0, seconds=2.0, peak=None, target="sorted(values, reverse=True)", **extra):
    text = {"exact_match": score, "bleu": score}
    return {
        "id": f"case-{number:02}",
        "error": None,
        "case": {"target": target},
        "scores": {
            "effectiveness": text,
            "generalisation": text,
            "specificity": {**text, "exact_match_all": score},
            "fluency": {"ngram_entropy": 5.0},
        },
        "cost": {"edit_seconds": seconds, "peak_bytes": peak, "batch_size": 4},
        **extra,
    }


def failed(number):
    return {"id": f"case-{number:02}", "error": {"type": "CaseError", "message": "no"}, "case": {"target": "a b c d"}}


def test_means_and_intervals_per_dimension_and_metric():
    scores = [1.0, 0.0, 1.0, 0.5]
    summary = summarise([entry(i, score) for i, score in enumerate(scores)], total=6)
    assert summary["scores"]["effectiveness"]["bleu"] == interval(scores).as_dict()
    assert summary["scores"]["specificity"]["exact_match_all"]["mean"] == pytest.approx(0.625)
    assert summary["scores"]["fluency"]["ngram_entropy"] == {"mean": 5.0, "low": 5.0, "high": 5.0, "n": 4}
    assert summary["cases"] == {"total": 6, "finished": 4, "failed": 0, "short_targets": 0}


def test_a_failed_case_is_zero_in_every_score_and_absent_from_the_cost():
    summary = summarise([entry(0), failed(1), entry(2, seconds=4.0), entry(3, seconds=6.0)], total=4)
    for metrics in summary["scores"].values():
        assert all(estimate["n"] == 4 for estimate in metrics.values())
    assert summary["scores"]["effectiveness"]["exact_match"]["mean"] == pytest.approx(0.75)
    assert summary["scores"]["fluency"]["ngram_entropy"]["mean"] == pytest.approx(3.75)
    assert summary["cost"]["edit_seconds"]["n"] == 3 and summary["cost"]["edit_seconds"]["mean"] == 4.0
    assert summary["cases"]["failed"] == 1 and summary["cases"]["finished"] == 4


def test_when_all_cases_fail_every_score_is_zero():
    summary = summarise([failed(0), failed(1)], total=2)
    assert summary["scores"]["specificity"]["exact_match_all"]["mean"] == 0.0
    assert summary["scores"]["effectiveness"]["chrf"] == interval([0.0, 0.0]).as_dict()
    assert summary["scores"]["fluency"]["ngram_entropy"]["mean"] == 0.0
    assert summary["cost"]["edit_seconds"] == {"mean": None, "low": None, "high": None, "n": 0}


@pytest.mark.parametrize("code", [True, False])
def test_a_run_without_a_scored_case_has_the_metrics_of_its_benchmark(code):
    answer = {name: dict(scores) for name, scores in score_outputs(CASE, OUTPUTS, code).items()}
    done = summarise([entry(0, scores=answer)], total=2, code=code)["scores"]
    lost, none = (summarise(entries, total=2, code=code)["scores"] for entries in ([failed(0), failed(1)], []))
    assert ("valid_syntax" in done["effectiveness"]) == code
    for dimension, metrics in done.items():
        bounded = dimension != "fluency"
        assert lost[dimension] == {name: interval([0.0, 0.0], in_unit=bounded).as_dict() for name in metrics}
        assert none[dimension] == {name: {"mean": None, "low": None, "high": None, "n": 0} for name in metrics}


@pytest.mark.parametrize("code", [True, False])
def test_a_sequence_that_failed_has_the_metrics_of_its_benchmark(code):
    names = text_scores("x = 1", "x = 1", code=code)
    both = [{**failed(number), "checkpoints": [{"edits": 2, "scores": {}}]} for number in (0, 1)]
    summary = summarise(both, total=2, code=code)
    (point,) = summary["checkpoints"]
    for found in (summary["right_after"], summary["forgetting"], point["scores"]):
        assert list(found["effectiveness"]) == list(names)
    assert list(point["scores"]["generalisation"]) == list(names)
    assert point["scores"]["effectiveness"]["bleu"]["n"] == 2
    assert set(names) - set(point["scores"]["specificity"]) == ({*names} - {*text_scores("", "", code=False)})


def test_no_case_yet_means_no_number():
    summary = summarise([], total=3)
    assert summary["cases"] == {"total": 3, "finished": 0, "failed": 0, "short_targets": 0}
    assert summary["scores"]["effectiveness"]["bleu"]["mean"] is None
    assert summary["cost"]["peak_bytes"] is None


def test_a_case_without_neighbours_is_left_out_of_specificity():
    lonely = entry(1, 0.0)
    lonely["scores"] = {**lonely["scores"], "specificity": {}}
    scores = summarise([entry(0), lonely], total=2)["scores"]
    assert scores["specificity"]["bleu"] == interval([1.0]).as_dict()
    assert scores["effectiveness"]["bleu"]["n"] == 2


def test_the_order_of_the_cases_does_not_matter():
    entries = [entry(i, score=i / 10, seconds=i / 3) for i in range(10)] + [failed(11)]
    shuffled = random.Random(0).sample(entries, len(entries))
    assert shuffled != entries
    assert summarise(entries, 11) == summarise(shuffled, 11)


def test_the_peak_is_the_largest():
    entries = [entry(0, peak=100), entry(1, peak=None), entry(2, peak=300), entry(3, peak=200)]
    assert summarise(entries, 4)["cost"]["peak_bytes"] == 300


def test_targets_too_short_for_bleu_are_counted():
    entries = [entry(0, target="os.getcwd"), entry(1), entry(2, target="a b c"), entry(3, target="a b c d")]
    assert summarise(entries, 4)["cases"]["short_targets"] == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1.0", None, True])
def test_a_score_that_is_no_number_is_refused(bad):
    with pytest.raises(ResultsError, match=r"case 'case-03' holds .*expected a finite number.*records.jsonl"):
        summarise([entry(0), entry(3, score=bad)], total=2)


@pytest.mark.parametrize("key", ["scores", "cost"])
def test_a_finished_case_without_its_results_is_refused(key):
    broken = {name: value for name, value in entry(3).items() if name != key}
    with pytest.raises(ResultsError, match=f"case 'case-03' has no {key}"):
        summarise([broken], total=1)


def test_the_signature_names_all_that_makes_numbers_comparable():
    assert signature(RUN) == (
        "dataset:cnle|split:test|n:12|cases:ab12cd34|model:smollm2|fp:01234567|dtype:float32|"
        "decoding:greedy|seed:0|protocol:single|version:0.1.0"
    )


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("dataset", "cases", "ffff"),
        ("dataset", "split", "train"),
        ("model", "dtype", "bfloat16"),
        ("model", "fingerprint", "ffff"),
        ("decoding", "strategy", "sampled"),
        ("decoding", "max_tokens", 16),
    ],
)
def test_another_condition_is_another_signature(part, key, value):
    identity = {**RUN["identity"], part: {**RUN["identity"][part], key: value}}
    assert signature({**RUN, "identity": identity}) != signature(RUN)


def test_the_method_is_no_part_of_the_signature():
    identity = {**RUN["identity"], "method": {"name": "grace", "config": {}}}
    assert signature({**RUN, "identity": identity}) == signature(RUN)

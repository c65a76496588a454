"""Comparing two runs, on folders written without a model."""

import json

import pytest

from clmeeval_data.errors import ConfigError, ResultsError, UnknownNameError
from clmeeval_data.evaluation.compare import compare_runs, find_run, read_side
from clmeeval_data.evaluation.results import RunFolder, RunIdentity
from clmeeval_data.evaluation.scoring.metrics import ngram_entropy, text_scores
from clmeeval_data.evaluation.scoring.paired import benjamini_hochberg, compare_paired, holm
from clmeeval_data.evaluation.scoring.summary import summarise

TARGET = "sorted(values, key=len, reverse=True)"
WRONG = "print(values, sep=', ')"


def make_entry(number, after=TARGET, rephrased=WRONG, neighbour=WRONG, error=None, sampled="a b c d e"):
    case = {
        "prompt": f"Intent: sort {number}\nCode:",
        "rephrased_prompt": f"Intent: put {number} in order\nCode:",
        "target": TARGET,
        "neighbour_prompts": ["Intent: neighbour\nCode:"],
    }
    if error:
        return {"id": f"cnle-{number:04}", "error": {"type": "CaseError", "message": error}, "case": case}
    kept = text_scores(neighbour, WRONG, code=False)
    return {
        "id": f"cnle-{number:04}",
        "error": None,
        "case": case,
        "outputs": {
            "effectiveness": {"before": WRONG, "after": after},
            "generalisation": {"before": WRONG, "after": rephrased},
            "specificity": [{"before": WRONG, "after": neighbour}],
            "fluency": {"after": sampled},
        },
        "scores": {
            "effectiveness": text_scores(after, TARGET, code=True),
            "generalisation": text_scores(rephrased, TARGET, code=True),
            "specificity": {**kept, "exact_match_all": kept["exact_match"]},
            "fluency": {"ngram_entropy": ngram_entropy(sampled)},
        },
        "cost": {"edit_seconds": 1.0, "peak_bytes": None, "batch_size": 1},
    }


@pytest.fixture
def write(tmp_path):
    """A function that writes a run's entries below ``results`` and reads it as one side of a comparison."""

    def written(method, entries, dtype="float32", seed=0):
        identity = RunIdentity(
            dataset={"name": "cnle", "split": "test", "schema": 1, "n": 12, "cases": "ab12cd34"},
            model={"name": "tiny", "fingerprint": "0123456789", "dtype": dtype},
            method={"name": method, "config": {}},
            decoding={"strategy": "greedy"},
            seed=seed,
        )
        folder = RunFolder(tmp_path / "results" / identity.folder)
        folder.open(identity, {"versions": {"clmeeval-data": "0.1.0"}})
        folder.journal.append(entries)
        return read_side(folder)

    return written


@pytest.fixture
def sides(write):
    """``good`` hits all targets but the first two and fails in case 9; ``bad`` hits every fourth, and changes more."""
    good = [make_entry(i, after=WRONG if i < 2 else TARGET) for i in range(9)] + [make_entry(9, error="no memory")]
    bad = [make_entry(i, after=WRONG if i % 4 else TARGET, neighbour=TARGET if i < 3 else WRONG) for i in range(12)]
    return write("good", good), write("bad", bad)


def row(compared, dimension, metric):
    (found,) = [one for one in compared.measured if (one.dimension, one.metric) == (dimension, metric)]
    return found


def test_means_and_p_are_those_of_the_common_cases_with_failures_as_zero(sides):
    compared = compare_runs(*sides)
    assert len(compared.common) == 10  # two cases were finished by one run alone
    found = row(compared, "effectiveness", "exact_match")
    first, second = [0.0] * 2 + [1.0] * 7 + [0.0], [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0, 0]
    assert found.comparison == compare_paired(first, second)
    assert (found.first, found.second) == (0.7, 0.3)
    assert (found.higher, found.lower) == (5, 1)


@pytest.mark.parametrize("position", [0, 1])
def test_means_are_the_summarys(sides, position):
    compared = compare_runs(*sides)
    entries = [sides[position].entries[case_id] for case_id in compared.common]
    scores = summarise(entries, 10)["scores"]
    assert {(one.dimension, one.metric) for one in compared.measured} == {
        (dimension, metric) for dimension, metrics in scores.items() for metric in metrics
    }
    for one in compared.measured:
        assert (one.first, one.second)[position] == pytest.approx(scores[one.dimension][one.metric]["mean"])


@pytest.mark.parametrize(
    ("correction", "correct"), [("holm", holm), ("benjamini-hochberg", benjamini_hochberg), ("none", list)]
)
def test_p_values_are_corrected_over_the_table(sides, correction, correct):
    compared = compare_runs(*sides, correction=correction)
    expected = correct([one.comparison.p for one in compared.measured])
    assert [one.corrected for one in compared.measured] == expected


def test_chosen_metrics_alone_are_compared_and_corrected_for(sides):
    compared = compare_runs(*sides, metrics=["chrf"])
    assert [(one.dimension, one.metric) for one in compared.measured] == [
        ("effectiveness", "chrf"),
        ("generalisation", "chrf"),
        ("specificity", "chrf"),
    ]
    assert compared.metric == "chrf"


def test_exchanged_runs_give_the_opposite(sides):
    there, back = compare_runs(*sides), compare_runs(*reversed(sides))
    for one, other in zip(there.measured, back.measured, strict=True):
        assert one.comparison.difference == pytest.approx(-other.comparison.difference)
        assert (one.higher, one.first) == (other.lower, other.second)


def test_a_run_that_failed_everywhere_is_compared_as_zeros(write):
    failed = write("failed", [make_entry(i, error="no") for i in range(6)])
    fine = write("fine", [make_entry(i) for i in range(6)])
    found = row(compare_runs(failed, fine), "effectiveness", "exact_match")
    assert (found.first, found.second) == (0.0, 1.0)
    assert found.comparison.p == pytest.approx(2 / 64)


def test_a_metric_that_one_run_lacks_is_left_out(write):
    old, new = ([make_entry(i, error="no" if i == 3 else None) for i in range(5)] for _ in range(2))
    for one in old:
        one.get("scores", {}).get("effectiveness", {}).pop("identifier_match", None)
    compared = compare_runs(write("old", old), write("new", new))
    names = {one.metric for one in compared.measured if one.dimension == "effectiveness"}
    assert "identifier_match" not in names and "chrf" in names


def test_effectiveness_right_after_each_edit_of_a_sequence_is_compared_too(write):
    forgets, keeps = [make_entry(i, after=WRONG) for i in range(5)], [make_entry(i) for i in range(5)]
    for one in (*forgets, *keeps):
        scores = text_scores(TARGET, TARGET, code=True)
        one["right_after"] = {"outputs": {"effectiveness": {"before": WRONG, "after": TARGET}}}
        one["right_after"]["scores"] = {"effectiveness": scores}
    compared = compare_runs(write("forgets", forgets), write("keeps", keeps))
    assert row(compared, "right_after", "exact_match").comparison.difference == 0.0
    assert row(compared, "effectiveness", "exact_match").comparison.difference == -1.0


def test_slices_are_compared_on_their_cases_alone(sides):
    compared = compare_runs(*sides, by=["target", "prompt"])
    assert [part.label for part in compared.slices] == ["37 characters", "20 characters"]
    for part in compared.slices:
        whole = row(compared, "effectiveness", "exact_match")
        assert part.measured[0].comparison == whole.comparison  # all cases are of one length
    p_values = [one.comparison.p for part in compared.slices for one in part.measured]
    assert [one.corrected for part in compared.slices for one in part.measured] == holm(p_values)


def test_cases_that_differ_most_come_first_and_directions_take_turns(sides):
    compared = compare_runs(*sides, cases=20)
    found = [(case.case_id, case.dimension, case.difference) for case in compared.differing]
    # 0: bad hits the target; so it goes first among those in which bad is better; 1 and 2: bad changes a neighbour
    assert found[:3] == [
        ("cnle-0002", "effectiveness", 1.0),
        ("cnle-0000", "effectiveness", -1.0),
        ("cnle-0001", "specificity", 1.0),
    ]
    assert {case_id for case_id, _, _ in found} == {f"cnle-{number:04}" for number in (0, 1, 2, 3, 5, 6, 7, 9)}
    assert ("cnle-0009", "specificity", -1.0) in found  # failed in the one, neighbour kept by the other
    assert compare_runs(*sides, cases=2).differing == compared.differing[:2]


@pytest.mark.parametrize(
    ("change", "said"), [({"dtype": "bfloat16"}, "dtype: float32 / bfloat16"), ({"seed": 1}, "seed: 0 / 1")]
)
def test_runs_that_differ_in_more_than_the_method_are_refused_with_the_reason(write, change, said):
    one, other = write("one", [make_entry(1)]), write("other", [make_entry(1), make_entry(2)], **change)
    with pytest.raises(ResultsError, match=rf"differ in more than the method \({said}\).*--anyway"):
        compare_runs(one, other)
    compared = compare_runs(one, other, anyway=True)
    assert compared.differs == (said,)
    assert compared.common == ("cnle-0001",)


def test_what_cannot_be_compared_is_refused(sides, write):
    with pytest.raises(ResultsError, match="one and the same run"):
        compare_runs(sides[0], sides[0])
    with pytest.raises(ResultsError, match="no finished case in common"):
        compare_runs(sides[0], write("late", [make_entry(11)]))
    with pytest.raises(UnknownNameError, match="Did you mean 'rouge_l'"):
        compare_runs(*sides, metrics=["rouge"])
    with pytest.raises(ConfigError, match="need the dataset"):
        compare_runs(*sides, by=["source"])
    broken = make_entry(1)
    broken["scores"]["effectiveness"]["bleu"] = None
    with pytest.raises(ResultsError, match="'cnle-0001' has no readable scores"):
        compare_runs(sides[0], write("broken", [broken]))


def test_a_run_is_found_by_folder_or_by_a_prefix_of_its_hash(sides, tmp_path):
    results = tmp_path / "results"
    first = sides[0]
    assert find_run(str(first.folder), results).path == first.folder
    assert find_run(first.hash[:6], results).path == first.folder
    with pytest.raises(ResultsError, match=r"no run 'zz'\. Expected a run folder, or the first digits"):
        find_run("zz", results)
    with pytest.raises(ResultsError, match=r"is no run folder, and .* no results folder"):
        find_run("ab", tmp_path / "nothing")
    with pytest.raises(ResultsError, match="is no run folder"):
        find_run("", results)


def test_a_prefix_of_several_hashes_is_refused(write, tmp_path):
    sides = [write(f"method{number}", [make_entry(1)]) for number in range(17)]  # two of 17 share a first digit
    digits = [side.hash[0] for side in sides]
    shared = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(ResultsError, match=rf"the hashes of {digits.count(shared)} runs begin with '{shared}'"):
        find_run(shared, tmp_path / "results")


def test_a_comparison_is_one_json_object(sides):
    compared = compare_runs(*sides, by=["target"], cases=1)
    content = json.loads(json.dumps(compared.as_dict(), allow_nan=False))
    assert content["first"]["method"] == "good" and content["first"]["failed"] == 1
    assert content["common_cases"] == 10
    found = next(one for one in content["measures"] if (one["dimension"], one["metric"]) == ("effectiveness", "bleu"))
    assert set(found) >= {"difference", "low", "high", "p", "corrected", "n", "differing", "first", "second"}
    assert content["cases"][0]["first"]["outputs"]["effectiveness"]["after"] == TARGET
    assert content["slices"][0]["label"] == "37 characters"

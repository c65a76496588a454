"""Which runs are published, and the table of them, against runs that are made up."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from clmeeval_data.errors import ConfigError, ResultsError
from clmeeval_data.evaluation.publishing.card import Sizes, card
from clmeeval_data.evaluation.publishing.publish import Destination, located, plan_results
from clmeeval_data.evaluation.publishing.selection import path_of, runs_at_hand, select
from clmeeval_data.evaluation.publishing.table import parquet_of, protocol_of
from clmeeval_data.evaluation.report.runs import Cases, Run
from clmeeval_data.evaluation.scoring.significance import Estimate


def run(method="rome", complete=True, finished=4, hash_="0123456789", dataset="cnle", estimates=None, **method_parts):
    identity = {
        "dataset": {"name": dataset, "split": "test"},
        "model": {"name": "org/model"},
        "method": {"name": method, "config": {"layer": 5}, **method_parts},
    }
    return Run(
        folder=SimpleNamespace(path=Path("results")),
        identity=identity,
        environment={},
        hash=hash_,
        signature="dataset:cnle",
        complete=complete,
        cases=Cases(4, finished, 1, 0),
        estimates=estimates or {},
    )


@pytest.mark.parametrize(
    ("here", "there", "is_taken"),
    [
        ((True, 4), None, True),
        ((False, 1), None, True),
        ((True, 4), (True, 4), True),
        ((True, 4), (False, 3), True),
        ((True, 4), (False, 5), False),  # of a journal with more cases than the run
        ((True, 3), (True, 4), False),
        ((False, 3), (False, 2), False),
        ((False, 4), (True, 4), False),
    ],
)
def test_a_published_run_gives_way_only_to_a_complete_one_with_as_many_cases(here, there, is_taken):
    mine = run(complete=here[0], finished=here[1])
    theirs = {} if there is None else {"p": run(complete=there[0], finished=there[1])}
    chosen = select({"p": mine}, {**theirs, "q": run("none")})
    assert (chosen.all["p"] is mine) is is_taken
    assert list(chosen.all) == ["p", "q"] and "q" in chosen.kept
    assert chosen.passed_over == ([] if is_taken else ["p"])


def test_the_path_is_made_of_the_identity():
    assert path_of(run("a method")) == "results/cnle/org--model/a-method--0123456789"
    assert ".." not in path_of(run("../..", dataset="../x")).split("/")


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [
        ({}, "single"),
        ({"protocol": {"name": "single"}}, "single"),
        ({"protocol": {"name": "batch", "size": 10}}, "batch-10"),
        ({"protocol": {"name": "sequential", "size": 20, "checkpoints": [1, 10, 20]}}, "sequential-20"),
    ],
)
def test_protocols_are_named_as_in_signatures(protocol, shown):
    assert protocol_of(protocol) == shown


def test_a_run_without_an_estimate_has_nulls_there():
    exact, cost = ("effectiveness", "exact_match"), ("cost", "edit_seconds")
    later = ("right_after_effectiveness", "exact_match")
    runs = {
        "results/b": run(estimates={cost: Estimate(1.5, 1.0, 2.0, 3), exact: Estimate(0.5, 0.25, 0.75, 4)}),
        "results/a": run("grace", family="memory", estimates={later: Estimate(1.0, 1.0, 1.0, 4)}),
    }
    table = pq.read_table(io.BytesIO(parquet_of(runs)))
    first, second = table.to_pylist()
    assert [first["path"], second["path"]] == ["results/a", "results/b"]
    assert (first["family"], second["family"]) == ("memory", None)
    assert first["effectiveness_exact_match_mean"] is first["cost_edit_seconds_n"] is None
    assert first["right_after_effectiveness_exact_match_mean"] == 1.0
    assert [second[f"effectiveness_exact_match_{part}"] for part in ("mean", "low", "high", "n")] == [
        0.5,
        0.25,
        0.75,
        4,
    ]
    assert [name for name in table.column_names if name.endswith("_n")] == [
        "effectiveness_exact_match_n",
        "right_after_effectiveness_exact_match_n",
        "cost_edit_seconds_n",
    ]
    assert json.loads(second["config"]) == {"layer": 5}
    assert parquet_of(dict(reversed(runs.items()))) == parquet_of(runs)


def test_names_cannot_break_the_card():
    text = card("a/b", "https://hub/a/b", {"p": run("x | y\n# <b>z", dataset="c\n---\n")}, Sizes(1, 2))
    assert "x \\| y # &lt;b>z" in text
    assert text.count("\n---\n") == 1 and text.startswith("---\n")


def test_no_destination_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere to publish to\. Give --repo OWNER/NAME"):
        plan_results([tmp_path], Destination())


def test_a_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert located(["owner/name", tmp_path, "absent"]) == [Path("owner/name"), tmp_path, Path("absent")]


def test_no_runs_is_an_error(tmp_path):
    with pytest.raises(ResultsError, match="no runs in"):
        runs_at_hand([tmp_path])

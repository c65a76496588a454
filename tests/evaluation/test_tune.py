"""The search for settings, on a tiny model: what it finds, what it reads, and that stopping it changes nothing."""

import json
import math
import tomllib

import pytest

from clmeeval_data.errors import ConfigError, DatasetError
from clmeeval_data.evaluation.cluster import make_editor
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.grace import Grace, GraceConfig
from clmeeval_data.evaluation.hparams import Settings, read_settings, search_space
from clmeeval_data.evaluation.results import find_runs
from clmeeval_data.evaluation.runner import TestSet
from clmeeval_data.evaluation.tune import Score, TunePlan, tune
from clmeeval_data.evaluation.tune.search import Search, rungs
from clmeeval_data.hub import open_split
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import parquet_path, write_dataset

START = {"layer": 2, "learning_rate": 1e-9, "steps": 12, "radius": 1e-3, "start": "zero", "stop_loss": 0.05}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, save_model, tokenizer):
    """A model, and a dataset with targets of one token, of which only the training split can be read."""
    root = tmp_path_factory.mktemp("tune")
    save_model(root / "model")
    words = sorted(token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha())
    records = [
        CnleRecord(
            CNLE.case_id(f"add {i} to x", words[i]),
            f"add {i} to x",
            f"increase x by {i}",
            words[i],
            (CnleNeighbour(f"do {i} things", f"f({i})", 50.0),),
            Provenance("test", f"q{i}", f"group {i}", "Apache-2.0"),
            Rephrasing("human", "", "1"),
        )
        for i in range(12)
    ]
    write_dataset(root / "data", CNLE, {"train": records[:8], "validation": records[8:10], "test": records[10:]}, {})
    for split in ("validation", "test"):
        parquet_path(root / "data", split).write_bytes(b"nobody may read this")
    return root


@pytest.fixture(autouse=True)
def start(monkeypatch):
    """Settings in force with which GRACE changes nothing; sampled texts, which have no part in the score, are short."""
    monkeypatch.setattr("clmeeval_data.evaluation.measurement.FLUENCY_TOKENS", 2)
    monkeypatch.setattr(
        "clmeeval_data.evaluation.tune.settings_for", lambda method, model, depth: Settings(dict(START), "planted")
    )


def tuned_cases(tuned):
    return json.loads(tuned.report.read_text())["spent"]


class Watcher:
    """Counts what the search says of itself."""

    def __init__(self):
        self.steps, self.finished, self.labels = [], [], []

    def begin(self, method, step, cases):
        self.labels.append(f"{method} {step}")
        self.steps.append(cases)
        self.finished.append(0)

    def advance(self, step, cases):
        assert self.labels[-1].endswith(step)
        self.finished[-1] += cases

    def track(self, steps, description, total):
        return steps


@pytest.fixture
def search(folder, tmp_path):
    def run(watcher=None, **changes):
        values = {"model": str(folder / "model"), "datasets": (str(folder / "data"),), "method": "grace",
                  "out": tmp_path / "tuned", "cases": 4, "space": {"learning_rate": [1.0]}}  # fmt: skip
        return tune(TunePlan(**{**values, **changes}), watcher or Watcher())

    return run


def test_it_finds_the_planted_setting(search, folder):
    tuned = search(space={"layer": [77, 1], "learning_rate": [1e-8, 1.0]})
    assert tuned.config["learning_rate"] == 1.0
    assert tuned.config["layer"] == 2  # at a learning rate of 1e-9 all layers are equal: the one in force stays
    assert tuned.score.effectiveness > 0.9
    assert tuned.score.specificity == 1.0
    again = search(space={"learning_rate": [1.0]}, overrides=(("steps", 1),), out=folder / "steps")
    assert again.config["steps"] == 1
    assert again.score.total < tuned.score.total


def test_the_file_is_one_that_run_reads(search, make_lm, folder):
    tuned = search(space={"learning_rate": [1.0, 1e-8], "layer": [0, 1, 2, 3]}, overrides=(("seed", 7),))
    settings = read_settings(tuned.path)
    assert settings.values == tuned.config == {**START, **tuned.config, "seed": 7}
    editor = make_editor("grace", make_lm("llama"), settings)
    assert editor.config == GraceConfig.from_dict(tuned.config)
    table = tomllib.loads(tuned.path.read_text())
    assert (table["models"], table["depth"]) == (["model"], 4)
    lines = tuned.path.read_text().splitlines()
    numbers = {line.split(" = ")[0]: lines[index - 1] for index, line in enumerate(lines) if " = " in line}
    assert numbers["learning_rate"].startswith("# tried 1e-09: ")
    assert " cases" in numbers["learning_rate"]
    assert numbers["steps"] == "# not searched (planted)"
    assert numbers["seed"] == "# given"
    assert max(map(len, lines)) <= 120


def test_the_report_has_every_candidate(search):
    tuned = search(space={"learning_rate": [1.0, 1e-8], "layer": [1, 77, 3]})
    report = json.loads(tuned.report.read_text())
    rates, layers = report["settings"]
    assert [trial["value"] for trial in rates["trials"]] == [1e-9, 1.0, 1e-8]
    assert [trial["value"] for trial in layers["trials"]] == [2, 1, 77, 3]
    lost = layers["trials"][2]
    assert lost["failed"] == lost["cases"] == 2
    assert "layer 77 does not exist" in lost["reason"]
    assert report["config"] == tuned.config
    assert report["score"]["total"] == round(tuned.score.total, 6)
    assert report["datasets"][0]["n"] == 4


def test_halves_of_the_candidates_meet_twice_the_cases(search):
    watcher = Watcher()
    tuned = search(watcher, cases=8, space={"learning_rate": [1.0, 1e-8, 1e-7, 1e-6, 1e-5], "radius": [0.5]})
    assert watcher.labels == [
        "grace learning_rate: 6 candidates on 2 cases",
        "grace learning_rate: 3 candidates on 4 cases",
        "grace learning_rate: 2 candidates on 8 cases",
        "grace radius: 2 candidates on 8 cases",
    ]
    assert watcher.steps == [6 * 2, 3 * 2, 2 * 4, 8]  # the value in force has met all cases already
    assert watcher.finished == watcher.steps
    report = json.loads(tuned.report.read_text())
    assert report["spent"] == sum(watcher.steps)
    assert [trial["cases"] for trial in report["settings"][0]["trials"]].count(8) == 2


@pytest.mark.parametrize(
    ("candidates", "cases", "expected"),
    [(2, 16, [16]), (3, 16, [8, 16]), (4, 16, [8, 16]), (5, 16, [4, 8, 16]), (100, 16, [2, 4, 8, 16]),
     (8, 12, [3, 6, 12]), (9, 3, [3]), (2, 1, [1]), (4, 5, [2, 5])],
)  # fmt: skip
def test_rungs(candidates, cases, expected):
    assert rungs(candidates, cases) == expected


def test_a_search_that_was_stopped_goes_on(search, tmp_path, monkeypatch):
    space = {"learning_rate": [1.0], "radius": [0.5]}
    whole = search(space=space, out=tmp_path / "whole")
    edit_each, seen, limit = Grace.edit_each, [], [7]

    def counted(self, lm, requests):
        if len(seen) == limit[0]:
            raise KeyboardInterrupt
        seen.extend((json.dumps(self.config.as_dict()), request.case_id) for request in requests)
        return edit_each(self, lm, requests)

    monkeypatch.setattr(Grace, "edit_each", counted)
    with pytest.raises(KeyboardInterrupt):
        search(space=space, batch_size=1)
    limit[0] = None
    tuned = search(space=space, batch_size=1)
    assert len(seen) == len(set(seen)) == tuned_cases(tuned)
    assert tuned.path.read_bytes() == whole.path.read_bytes()
    assert tuned.report.read_bytes() == whole.report.read_bytes()


def test_the_same_search_again_computes_nothing(search, monkeypatch, tmp_path):
    first = search()
    content = first.path.read_bytes(), first.report.read_bytes()
    elsewhere = search(out=tmp_path / "elsewhere")
    monkeypatch.setattr(Grace, "edit_each", None)
    again = search()
    for same in (again, elsewhere):
        assert (same.path.read_bytes(), same.report.read_bytes()) == content


def test_the_seed_chooses_the_cases(search, tmp_path):
    def cases(seed):
        out = tmp_path / f"seed {seed}"
        search(seed=seed, out=out, cases=2, space={"learning_rate": [1e-8]})
        return {key for run in find_runs(out) for key in run.journal.read()}

    chosen = [cases(seed) for seed in range(3)]
    assert all(len(ids) == 2 for ids in chosen)
    assert len({frozenset(ids) for ids in chosen}) > 1


def test_only_the_training_split_is_opened(search, folder):
    """The others hold no parquet: to open one is an error."""
    for split in ("validation", "test"):
        with pytest.raises(DatasetError):
            open_split(str(folder / "data"), split)
    assert search().score.cases == 4


def test_an_empty_training_split_is_an_error(search, monkeypatch):
    empty = TestSet(CNLE, "train", (), ())
    monkeypatch.setattr("clmeeval_data.evaluation.tune.read_tests", lambda *_: empty)
    with pytest.raises(DatasetError, match=r"the training split of .*data is empty"):
        search()


def test_several_datasets_count_alike(search, folder):
    watcher = Watcher()
    tuned = search(watcher, datasets=(str(folder / "data"),) * 2, cases=2, space={"learning_rate": [1.0]})
    assert watcher.steps == [2 * 2 * 2]
    assert tuned.score.cases == 4


def test_a_candidate_whose_edits_fail_is_lost_and_the_search_goes_on(search, monkeypatch):
    edit_each = Grace.edit_each

    def fails(self, lm, requests):
        if self.config.learning_rate == 0.5:
            raise RuntimeError("diverged")
        return edit_each(self, lm, requests)

    monkeypatch.setattr(Grace, "edit_each", fails)
    tuned = search(space={"learning_rate": [0.5, 1.0], "start": ["ones"]})
    assert (tuned.config["learning_rate"], tuned.config["start"]) == (1.0, "zero")
    text = tuned.path.read_text()
    assert "0.5: failed (diverged)" in text
    report = json.loads(tuned.report.read_text())
    assert "start is 'ones'; expected one of" in report["settings"][1]["trials"][1]["reason"]


def test_where_no_candidate_works_the_reason_is_told(search, monkeypatch):
    monkeypatch.setattr(Grace, "edit_each", lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match="no candidate of grace works on model: division by zero"):
        search()


def test_the_budget_ends_the_search(search):
    space = {"learning_rate": [1.0, 1e-8, 1e-7], "radius": [0.5]}
    whole = json.loads(search(space=space).report.read_text())
    assert whole["spent"] == 4 * 2 + 2 * 2 + 4
    first = search(space=space, budget=8)
    report = json.loads(first.report.read_text())
    assert first.config["learning_rate"] == 1.0
    assert report["spent"] == 8
    assert [one["complete"] for one in report["settings"]] == [False, False]
    text = first.path.read_text()
    assert "the budget ended the search" in text
    assert "# not searched: the budget was spent\nradius = 0.001" in text
    with pytest.raises(ConfigError, match="a budget of 7 does not cover one step"):
        search(space=space, budget=7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "none", "space": None}, "no setting has candidates"),
        ({"space": {}}, "nothing to search for grace: no setting has candidates. It runs as it is."),
        ({"overrides": (("learning_rate", 0.1),)}, "the settings that have candidates were given"),
        ({"space": {"learning_rat": [1]}}, "grace has no setting 'learning_rat' to search. Known: layer"),
        ({"overrides": (("stepz", 3),)}, "has no setting 'stepz'"),
        ({"cases": 0}, "cases is 0; expected 1 or more"),
        ({"datasets": ()}, "no dataset to search on"),
    ],
)
def test_a_wrong_plan_is_refused(search, monkeypatch, changes, message):
    if changes.get("method") == "none":
        monkeypatch.setattr("clmeeval_data.evaluation.tune.settings_for", lambda *_: Settings({}, "none needed"))
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        search(**changes)


def test_a_method_that_is_trained_is_refused(search, monkeypatch):
    monkeypatch.setattr(Grace, "needs_training", True, raising=False)
    with pytest.raises(ConfigError, match="grace is trained, and its settings take effect in training"):
        search()


@pytest.mark.parametrize("method", list(EDITORS))
def test_what_a_method_ships_to_search_for_are_its_settings(method):
    names = {name for name in search_space(method, 30)}
    assert names <= set(EDITORS[method].config_class.__dataclass_fields__)


def test_candidates_are_compared_on_the_same_cases(search, monkeypatch):
    """The value in force has met all cases already: in the first step only those may count that the others meet."""

    def entries(self, values, tests, label):
        begins = self._new[2][0].cases == tests.cases
        answers = ["x y", "x y"] if begins else ["", ""]
        answers = {1e-3: answers, 0.5: ["x y", "x"], 0.6: ["x y", "x"]}.get(values["radius"], ["", ""])
        return [entry(("", answer if values["learning_rate"] == 1.0 else "")) for answer in answers]

    monkeypatch.setattr(Search, "_entries", entries)
    tuned = search(space={"learning_rate": [1.0, 1e-8], "radius": [0.5, 0.6, 0.7]})
    radii = json.loads(tuned.report.read_text())["settings"][1]
    assert [trial["value"] for trial in radii["trials"]] == [1e-3, 0.5, 0.6, 0.7]
    assert [trial["cases"] for trial in radii["trials"]] == [4, 4, 2, 2]  # best of the first two cases: 1 against 2/3
    assert tuned.config["radius"] == 0.5
    assert tuned.score.effectiveness == pytest.approx(2 / 3)


# --- the score --------------------------------------------------------------------------------------------------------


def entry(effective=("", ""), general="", near=(("a b", "a b"),), target="x y", error=None):
    before, after = effective
    outputs = {
        "effectiveness": {"before": before, "after": after},
        "generalisation": {"before": "", "after": general},
        "specificity": [{"before": old, "after": new} for old, new in near],
    }
    return {"id": "1", "error": error, "case": {"target": target}, "outputs": outputs}


def test_an_edit_without_effect_scores_next_to_nothing():
    unedited = Score.of([entry(("x", "x"), general="x")] * 4)
    assert (unedited.effectiveness, unedited.specificity) == (0.0, 1.0)
    assert unedited.total < 0.03
    harmful = Score.of([entry(("x", "x y"), general="x", near=[("a b c d e f", "a"), ("c", "d")])] * 4)
    assert harmful.specificity < 0.2
    assert harmful.rank > unedited.rank


def test_the_score_is_the_harmonic_mean():
    score = Score.of([entry(("", "x y"), general="x y", near=[("a b", "a b"), ("a", "b")]), entry(("", "x"))])
    assert score.effectiveness == pytest.approx((1 + 1 / 3) / 2)  # ROUGE-L of "x" against "x y" is 2/3
    assert score.generalisation == pytest.approx(0.5)
    assert score.specificity == pytest.approx((0.5 + 1) / 2)
    assert score.total == pytest.approx(3 / (1.5 + 2 + 4 / 3))


def test_what_there_was_to_gain():
    near_miss = Score.of([entry(("x", "x y"))])
    assert near_miss.effectiveness == 1.0
    worse = Score.of([entry(("x", "z"))])
    assert worse.effectiveness == 0.0
    known = Score.of([entry(("x y", "x y")), entry(("", "x y"))])
    assert known.effectiveness == 1.0  # the first had nothing to gain
    assert Score.of([entry(("x y", "x y"))]).effectiveness == 0.0


def test_cases_that_failed_are_worth_nothing():
    problem = {"type": "EditError", "message": "the loss became nan"}
    score = Score.of([entry(("", "x y"), general="x y"), {"id": "2", "error": problem}])
    assert (score.effectiveness, score.generalisation, score.specificity) == (0.5, 0.5, 0.5)
    assert (score.cases, score.failed, score.reason) == (2, 1, "the loss became nan")
    assert score.works
    assert not Score.of([{"id": "2", "error": problem}]).works


def test_without_neighbours_two_dimensions_count():
    score = Score.of([entry(("", "x y"), general="x", near=())])
    assert score.specificity is None
    assert score.total == pytest.approx(2 / (1 + 3))
    assert math.isfinite(Score().total)

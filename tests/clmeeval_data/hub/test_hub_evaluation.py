"""Evaluating a dataset on a Hub on loopback at a revision: what is read, what a run keeps of it, and verifies."""

import json
from pathlib import Path

import pytest

from clmeeval_data.evaluation.editors.trained import Trained
from tests.evaluation.conftest import make_lm, sample_rows, save_model, tokenizer  # noqa: F401 - fixtures

# runs each command line in turn, and tells what each printed and how it ended
EVALUATE = """
import contextlib, io, json, sys
from clmeeval_data.evaluation.cli import main

ended = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["clmeeval-evaluate", *words]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()) as shown:
        try:
            main()
        except SystemExit as done:
            ended.append([done.code, printed.getvalue().strip(), shown.getvalue()])
json.dump(ended, sys.stdout)
"""
# what a worker of a plan at a revision says that its run is
DESCRIBE = """
import json, sys
from pathlib import Path
from clmeeval_data.evaluation.cluster import LoadedPlan
from clmeeval_data.evaluation.plan import Plan

plan = Plan(json.loads(sys.argv[1]), ("clmeeval/cnle",), ("none",), Path("none"), revision="v1").pinned()
(told,) = LoadedPlan(plan).described(0)
json.dump([told.identity.hash, told.environment["dataset"]], sys.stdout)
"""


@pytest.mark.slow
def test_a_run_at_a_revision_is_verified_at_its_commit(
    client,
    releases,
    served,
    cnle_folder,
    save_model,  # noqa: F811 - a fixture
    tmp_path,
):
    old, head = releases
    model, out = save_model(tmp_path / "tiny"), tmp_path / "results"
    here = ["--model", str(model), "--method", "none", "--out", str(out)]
    hub = ["--dataset", "clmeeval/cnle"]
    done = client(
        EVALUATE,
        [
            ["run", *here, *hub, "--revision", "v1"],
            ["run", *here, *hub],
            ["run", *here, *hub, "--revision", "v9"],
            ["run", *here[:4], "--out", str(tmp_path / "local"), "--dataset", str(cnle_folder)],
            ["train", *here[:2], *hub, "--method", "agrace", "--out", str(tmp_path / "trained"), "--revision", "v1",
             "--set", "layer=2", "--set", "steps=5", "--set", "encoder_epochs=3"],
            ["tune", *here[:2], *hub, "--method", "grace", "--out", str(tmp_path / "tuned"), "--revision", "v1",
             "--cases", "2", "--budget", "60", "--set", "steps=2", "--set", "start=zero", "--set", "learning_rate=0.3"],
        ],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tagged, newest, missing, local, trained, tuned = json.loads(done.stdout)
    assert [one[0] for one in (tagged, newest, missing, local, trained, tuned)] == [0, 0, 2, 0, 0, 0], done.stdout
    (line,) = [line for line in missing[2].splitlines() if line.startswith("error: ")]
    assert "cannot be loaded from the Hub at revision 'v9'" in line
    runs = [json.loads((tmp_path / one[1] / "run.json").read_text()) for one in (tagged, newest, local)]
    asked = [(one["environment"]["dataset"]["revision"], one["environment"]["dataset"]["commit"]) for one in runs]
    assert asked == [("v1", old), (None, head), (None, None)]
    assert [one["identity"]["dataset"]["n"] for one in runs] == [3, 2, 3]
    assert runs[0]["hash"] == runs[2]["hash"], "the same cases are the same run, wherever they were read"
    known = {"name": "cnle", "location": "clmeeval/cnle", "revision": "v1", "commit": old}
    assert Trained.load(Path(trained[1])).facts["dataset"] == known
    (used,) = json.loads((tmp_path / "tuned/grace/tiny/tune.json").read_text())["datasets"]
    assert (used["location"], used["revision"], used["commit"]) == ("clmeeval/cnle", "v1", old)

    repo = served.repos["clmeeval/cnle"]
    repo.tags["v1"] = repo.commit("third release", {**repo.head.files, "NEWS": b"moved"}).oid
    verify = [["verify", one[1]] for one in (tagged, newest)]
    done = client(EVALUATE, [*verify, [*verify[0], "--revision", "main"]])
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert [one[:2] for one in ended[:2]] == [[0, "3 of 3 cases are equal"], [0, "2 of 2 cases are equal"]]
    assert ended[2][0] == 2
    assert "was run with another dataset than there is now" in ended[2][2]

    repo.tags["v1"] = old
    done = client(DESCRIBE, str(model))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [runs[0]["hash"], {**runs[0]["environment"]["dataset"]}]

"""Runs on a local Ray cluster of two workers, against the same runs in this process.

Every worker is a process that loads torch first: what starts more than one of them is marked slow.
"""

import os
import signal
from functools import partial

import pytest

from clmeeval_data.errors import ConfigError, ModelError, ResultsError
from clmeeval_data.evaluation.cluster import LoadedPlan, execute
from clmeeval_data.evaluation.execution.ray import RayWorkers
from clmeeval_data.evaluation.protocols import SINGLE, EvaluationProtocol
from tests.evaluation.observer import Unwatched

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """Two workers' worth of a cluster, started once: a plan finds it running."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def unmeasured(folder):
    return {key: {k: v for k, v in e.items() if k != "cost"} for key, e in folder.entries().items()}


def bytes_of(folder):
    """The summary's file, less what was measured."""
    lines = (folder.path / "summary.json").read_text().splitlines()
    start = lines.index(' "cost": {')
    return lines[:start] + lines[lines.index(" },", start) :]


@pytest.mark.long
@pytest.mark.parametrize("protocol", [SINGLE, EvaluationProtocol("batch", 3), EvaluationProtocol("sequential", 6)])
def test_two_workers_give_the_bytes_of_a_single_run(protocol, cluster, plan_of, tmp_path):
    methods = ("none", "grace") if protocol == SINGLE else ("grace",)
    here = execute(plan_of(tmp_path / "here", protocol=protocol, methods=methods), Unwatched())
    there = execute(
        plan_of(tmp_path / "there", protocol=protocol, methods=methods, executor="ray", workers=2), Unwatched()
    )
    assert [one.path.name for one in there] == [one.path.name for one in here]
    for mine, theirs in zip(there, here, strict=True):
        assert unmeasured(mine) == unmeasured(theirs)
        assert bytes_of(mine) == bytes_of(theirs)
    again = execute(plan_of(tmp_path / "there", protocol=protocol, methods=methods), Unwatched())
    assert [one.path for one in again] == [one.path for one in there], "a run of Ray's is complete for a plain one"


@pytest.mark.long
@pytest.mark.parametrize("protocol", [SINGLE, EvaluationProtocol("sequential", 12)])
def test_a_worker_that_is_killed_in_the_middle_changes_nothing(
    protocol, cluster, plan_of, tmp_path, monkeypatch, caplog
):
    from clmeeval_data.evaluation import recorder

    (here,) = execute(plan_of(tmp_path / "here", protocol=protocol), Unwatched())
    hired, killed, write = [], [], recorder.Recorder.write
    enter = RayWorkers.__enter__

    def watched(self):
        hired.append(self)
        return enter(self)

    def killing(self, unit, piece):
        write(self, unit, piece)
        if not killed:
            killed.extend(hired[0].pids if protocol != SINGLE else hired[0].pids[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(RayWorkers, "__enter__", watched)
    monkeypatch.setattr(recorder.Recorder, "write", killing)
    (there,) = execute(plan_of(tmp_path / "there", protocol=protocol, executor="ray", workers=2), Unwatched())
    assert killed
    assert "a task on the Ray cluster was lost (" in caplog.text
    assert unmeasured(there) == unmeasured(here)
    assert bytes_of(there) == bytes_of(here)


def test_one_worker_gives_the_bytes_of_a_single_run(cluster, plan_of, tmp_path):
    (here,) = execute(plan_of(tmp_path / "here"), Unwatched())
    (there,) = execute(plan_of(tmp_path / "there", executor="ray", workers=1), Unwatched())
    assert unmeasured(there) == unmeasured(here)
    assert bytes_of(there) == bytes_of(here)


def test_what_is_wrong_in_a_worker_is_what_the_command_says(cluster, plan_of, tmp_path):
    plan = plan_of(tmp_path, executor="ray", workers=1, model="./modle")
    with pytest.raises(ModelError, match=r"no model folder \./modle\."):
        execute(plan, Unwatched())


@pytest.mark.long
def test_a_unit_that_takes_every_worker_with_it_ends_the_run(cluster, plan_of, tmp_path, monkeypatch):
    plan = plan_of(tmp_path, executor="ray", workers=1)
    monkeypatch.setattr("clmeeval_data.evaluation.cluster.partial", lambda cls, plan: partial(Deadly, plan))
    with pytest.raises(ResultsError, match="unit 0 has taken 3 workers with it"):
        execute(plan, Unwatched())


class Deadly(LoadedPlan):
    """Dies of every task, as a process does for which the system has no memory."""

    def compute(self, dataset, task):
        os.kill(os.getpid(), signal.SIGKILL)


def test_more_workers_than_there_is_room_for_are_refused(cluster, plan_of, tmp_path):
    with pytest.raises(ConfigError, match="the cluster has 2 CPUs, too few for 3 workers"):
        execute(plan_of(tmp_path, executor="ray", workers=3), Unwatched())
    with pytest.raises(ConfigError, match="the cluster has 0 GPUs, too few for 1 workers"):
        RayWorkers(lambda: None, gpu=True).__enter__()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "slurm"}, "--executor is 'slurm'; expected one of here, ray"),
        ({"address": "auto"}, "--address auto is for Ray. Add --executor ray"),
        ({"workers": 2}, "--workers 2 is for Ray"),
        ({"executor": "ray", "device": "auto"}, "--device auto does not go with --executor ray"),
        ({"executor": "ray", "device": "cuda:1"}, "Give --device cuda, or cpu"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message, plan_of, tmp_path):
    with pytest.raises(ConfigError, match=message):
        plan_of(tmp_path, **options)


def test_no_cluster_at_an_address_is_one_line(plan_of, tmp_path):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(ConfigError, match=r"no Ray cluster at --address 127\.0\.0\.1:1 \(.*refused"):
        execute(plan_of(tmp_path, executor="ray", address="127.0.0.1:1"), Unwatched())

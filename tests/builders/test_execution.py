"""Executors: results in order, a bounded number of shards under way, and nothing left running after the end."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from clmeeval_data.builders.execution import EXECUTORS, open_executor
from clmeeval_data.builders.execution.processes import Processes
from clmeeval_data.builders.execution.serial import Serial
from clmeeval_data.errors import ConfigError, DatasetError, SourceError, UnknownNameError

ROOT = Path(__file__).parents[2]

# What workers run: a module of its own, since they start afresh and know nothing of this file.
WORK = """
import functools, os, time
from pathlib import Path
from clmeeval_data.errors import SourceError

def late_first(number):
    time.sleep(0.2 if number % 4 == 0 else 0)
    return number * number, os.getpid()

def mark(folder, number):
    Path(folder, str(number)).touch()
    if number == 1:
        raise SourceError("row 1 is bad")
    time.sleep(0.2)
    return number

def die(number):
    os._exit(7)

@functools.lru_cache(maxsize=1)
def set_up(digest, log):
    with open(log, "a") as file:
        file.write(f"{os.getpid()} {digest}\\n")

def look_up(shared, log, number):
    set_up(shared.digest, log)
    time.sleep(0.02)
    return shared.read()[number : number + 1].decode()

def rest(folder, number):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The module that workers run, importable here and there."""
    (tmp_path / "shard_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("shard_work", None)
    import shard_work

    yield shard_work
    del sys.modules["shard_work"]


@pytest.fixture(params=[Serial, Processes])
def executor(request):
    opened = request.param(2)
    yield opened
    opened.close()


def is_alive(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "\nState:\tZ" not in status


def wait_until(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_results_come_in_the_order_of_the_shards(executor, work):
    results = list(executor.map(work.late_first, range(10)))
    assert [square for square, _ in results] == [number * number for number in range(10)]
    in_processes = isinstance(executor, Processes)
    assert (os.getpid() in {pid for _, pid in results}) is not in_processes
    assert list(executor.map(work.late_first, [])) == []


def test_only_a_bounded_number_of_shards_is_drawn_ahead(executor, work):
    drawn = []
    shards = (drawn.append(number) or number for number in range(20))
    for done, _ in enumerate(executor.map(work.late_first, shards), start=1):
        assert len(drawn) - done < 4


def test_the_first_error_stops_the_rest(executor, work, tmp_path):
    from functools import partial

    (tmp_path / "marks").mkdir()
    with closing(executor.map(partial(work.mark, tmp_path / "marks"), range(50))) as results:
        assert next(results) == 0
        with pytest.raises(SourceError, match="row 1 is bad"):
            next(results)
    assert len(list((tmp_path / "marks").iterdir())) <= 6
    assert list(executor.map(abs, [-1, -2])) == [1, 2], "an executor starts anew after an error"


def test_an_error_of_the_shards_themselves_is_raised(executor, work):
    def shards():
        yield 1
        raise SourceError("the corpus is cut off")

    with pytest.raises(SourceError, match="cut off"):
        list(executor.map(abs, shards()))


def test_workers_that_are_not_needed_any_more_stop_in_the_middle(work, tmp_path):
    from functools import partial

    (tmp_path / "pids").mkdir()
    executor = Processes(2)

    def shards():
        yield from range(2)
        wait_until(lambda: len(list((tmp_path / "pids").iterdir())) == 2)
        raise SourceError("enough")

    started = time.monotonic()
    with pytest.raises(SourceError, match="enough"):
        list(executor.map(partial(work.rest, tmp_path / "pids"), shards()))
    assert time.monotonic() - started < 30, "they were waited for"
    assert not any(is_alive(path.name) for path in (tmp_path / "pids").iterdir())


def test_a_worker_that_dies_is_one_clear_error(work):
    executor = Processes(2)
    with pytest.raises(DatasetError, match=r"a worker process died.*--jobs 2.*run the same command again"):
        list(executor.map(work.die, range(3)))
    assert list(executor.map(abs, [-1])) == [1]
    executor.close()
    executor.close()


def test_a_shared_file_is_read_anywhere_and_set_up_once_per_worker(executor, work, tmp_path):
    from functools import partial

    (tmp_path / "letters").write_text("abcdefghijklmnop")
    shared = executor.share(tmp_path / "letters")
    function = partial(work.look_up, shared, tmp_path / "log")
    assert "".join(executor.map(function, range(16))) == "abcdefghijklmnop"
    set_ups = (tmp_path / "log").read_text().splitlines()
    assert len(set(set_ups)) == len(set_ups) <= 2
    (tmp_path / "letters").write_text("Abcdefghijklmnop")
    assert executor.share(tmp_path / "letters").digest != shared.digest


SCRIPT = """
import sys
from functools import partial
sys.path.insert(0, sys.argv[1])
import shard_work
from clmeeval_data.builders.execution.processes import Processes
if __name__ == "__main__":
    list(Processes(2).map(partial(shard_work.rest, sys.argv[1] + "/pids"), range(9)))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_no_worker_outlives_the_main_process(work, tmp_path, number, to_all):
    """SIGINT goes to all processes, as Ctrl-C in a terminal does."""
    (tmp_path / "pids").mkdir()
    (tmp_path / "main.py").write_text(SCRIPT)
    main = subprocess.Popen(
        [sys.executable, tmp_path / "main.py", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list((tmp_path / "pids").iterdir())) == 2, 60)
    workers = [path.name for path in (tmp_path / "pids").iterdir()]
    assert all(map(is_alive, workers))
    if to_all:
        os.killpg(main.pid, number)
    else:
        main.send_signal(number)
    _, errors = main.communicate(timeout=30)
    wait_until(lambda: not any(map(is_alive, workers)))
    assert errors.count("Traceback") == (1 if to_all else 0), errors


def test_an_executor_is_opened_by_its_name():
    assert isinstance(open_executor(), Serial)
    assert isinstance(open_executor(jobs=3), Processes)
    assert isinstance(open_executor("processes", 1), Processes)
    assert isinstance(open_executor("serial", 1), Serial)
    assert list(EXECUTORS) == ["serial", "processes", "ray"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, 0), ConfigError, r"--jobs 0 is too small\. Expected at least 1\."),
        (("serial", 2), ConfigError, r"--executor serial has one job, not 2\. Use --executor processes"),
        (("threads", 2), UnknownNameError, r"unknown executor 'threads'\..*Known: processes, ray, serial\."),
        (("processes", 2, "auto"), ConfigError, r"--address auto is for Ray, but the executor is 'processes'\."),
    ],
)
def test_what_does_not_fit_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        open_executor(*arguments)


# Ray


def test_ray_is_asked_for_by_its_extra_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"--executor ray needs Ray.*pip install 'clmeeval-data\[ray\]'"):
        open_executor("ray", 2)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:99999", "nowhere", ""])
def test_an_address_without_a_cluster_is_one_clear_error(address):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'clmeeval-data[ray]'")
    executor = open_executor("ray", 1, address)
    with pytest.raises(ConfigError, match=rf"no Ray cluster at --address {address} \(.+\)\. Expected HOST:PORT"):
        list(executor.map(abs, [1]))


RAY_SCRIPT = """
import json, sys
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import shard_work
from clmeeval_data.builders.execution import open_executor
from clmeeval_data.errors import DatasetError, SourceError

folder, found = Path(sys.argv[1]), {}
executor = open_executor("ray", 2)
found["squares"] = [square for square, _ in executor.map(shard_work.late_first, range(10))]
drawn, ahead = [], []
for done, _ in enumerate(executor.map(abs, (drawn.append(n) or n for n in range(20))), start=1):
    ahead.append(len(drawn) - done)
found["ahead"] = max(ahead)
cases = (("error", partial(shard_work.mark, folder / "marks"), 50), ("death", shard_work.die, 2))
for name, function, count in cases:
    try:
        list(executor.map(function, range(1, count)))
    except (SourceError, DatasetError) as error:
        found[name] = f"{type(error).__name__}: {error}"
(folder / "letters").write_text("abcdefghijklmnop")
shared = executor.share(folder / "letters")
found["letters"] = "".join(executor.map(partial(shard_work.look_up, shared, folder / "log"), range(16)))
executor.close()
print(json.dumps(found))
"""


def test_a_local_ray_cluster_keeps_the_contract(work, tmp_path):
    """In a process of its own: Ray talks over sockets and threads that outlive a test."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'clmeeval-data[ray]'")
    import json

    (tmp_path / "marks").mkdir()
    (tmp_path / "main.py").write_text(textwrap.dedent(RAY_SCRIPT))
    done = subprocess.run(
        [sys.executable, tmp_path / "main.py", tmp_path],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["squares"] == [number * number for number in range(10)]
    assert found["ahead"] < 4
    assert found["error"] == "SourceError: row 1 is bad"
    assert found["death"].startswith("DatasetError: a task on the Ray cluster was lost (")
    assert found["letters"] == "abcdefghijklmnop"
    assert len((tmp_path / "log").read_text().splitlines()) <= 3
    assert len(list((tmp_path / "marks").iterdir())) < 49

"""Snippets with tests, each in a fresh process: how they end, and what they may not do."""

import json
import time
from importlib import resources
from pathlib import Path

import pytest

from clmeeval_data.errors import ConfigError
from clmeeval_data.records import CNLE
from clmeeval_data.sandbox.limits import Limits
from clmeeval_data.sandbox.trial import Trial, Verdict, run_trial, way_of

LIMITS = Limits(seconds=21, wait=20.0)
SAMPLES = resources.files("clmeeval_data").joinpath("samples")
ROWS = [json.loads(line) for line in SAMPLES.joinpath("cnle.jsonl").read_text(encoding="utf-8").splitlines()]
TESTS = [json.loads(line) for line in SAMPLES.joinpath("tests.jsonl").read_text(encoding="utf-8").splitlines()]
SNIPPETS = {CNLE.case_id(row["intent"], row["snippet"]): row["snippet"] for row in ROWS}
CHECKS = Path(__file__).with_name("cnle_sample_checks.jsonl")


def run(snippet, test="assert result == 3", setup="x = 1", limits=LIMITS):
    return run_trial(Trial(setup, snippet, test), limits)


ENDS = {
    "an expression": ("x + 2", "assert result == 3", Verdict("passed", "expression")),
    "statements": ("y = x\ny += 2", "assert y == 3", Verdict("passed", "statements")),
    "white space around": ("\n  x + 2 \n", "assert result == 3", Verdict("passed", "expression")),
    "another value": ("x + 3", "assert result == 3", Verdict("failed", "expression", "AssertionError")),
    "nothing": ("", "assert result == 3", Verdict("error", "statements", "NameError")),
    "an exception": ("x / 0", "assert result == 3", Verdict("error", "expression", "ZeroDivisionError")),
    "no Python": ("add two to x", "assert result == 3", Verdict("error", "", "SyntaxError")),
    "a text that is cut": ("print('abc", "assert True", Verdict("error", "", "SyntaxError")),
    "a null": ("x\0", "assert True", Verdict("error", "", "SyntaxError")),
    "an exit that looks like success": ("raise SystemExit(0)", "pass", Verdict("error", "statements", "SystemExit")),
    "output": ("print('passed' * 9999)", "pass", Verdict("passed", "expression")),
    "a question": ("input()", "pass", Verdict("error", "expression", "EOFError")),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_a_snippet_ends(name):
    snippet, test, verdict = ENDS[name]
    assert run(snippet, test) == verdict


def test_a_process_that_dies_has_not_passed():
    assert run("__import__('os')._exit(0)", "pass") == Verdict("error", error="the process ended with code 0")
    assert run("__import__('os').abort()", "pass") == Verdict("error", error="the process ended with signal 6")


def test_time_ends():
    started = time.monotonic()
    limits = Limits(seconds=30, wait=1.5)
    assert run("while True: pass", limits=limits) == Verdict("timeout", error="out of time")
    assert run("__import__('time').sleep(60)", limits=limits).outcome == "timeout"
    assert run("while True: pass", limits=Limits(seconds=1, wait=25.0)).outcome == "timeout"
    assert time.monotonic() - started < 25


def test_memory_ends():
    assert run("[0] * 10**9", "pass", limits=Limits(wait=20.0, memory=1 << 29)).error == "MemoryError"


REFUSED = {
    "a file elsewhere": "open({outside!r}, 'w')",
    "a socket": "__import__('socket').socket()",
    "a process": "__import__('subprocess').run(['true'])",
    "a fork": "__import__('os').fork()",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_snippet_may_not_do(name, tmp_path):
    outside = tmp_path / "new"
    found = run(REFUSED[name].format(outside=str(outside)), "pass")
    assert (found.outcome, found.error in {"PermissionError", "ImportError"}) == ("error", True), found
    assert not outside.exists()


def test_a_snippet_gets_nothing_of_this_process(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("PYTHONSTARTUP", "secret")
    monkeypatch.chdir(tmp_path)
    test = "assert 'secret' not in str(os.environ) and len(os.environ) < 9 and sys.flags.isolated, os.environ"
    assert run("", test, "import os, sys") == Verdict("passed", "statements")
    assert run("os.listdir()", "assert result == []", "import os").outcome == "passed"
    assert run("os.getcwd()", f"assert result != {str(Path.cwd())!r}", "import os").outcome == "passed"
    assert run("open('x', 'w').write('kept')", "assert open('x').read() == 'kept'").outcome == "passed"
    assert run("os.listdir()", "assert result == []", "import os").outcome == "passed"
    assert list(tmp_path.iterdir()) == []


def test_no_fork_is_an_error_that_says_so(monkeypatch):
    monkeypatch.delattr("os.fork")
    with pytest.raises(ConfigError, match="needs a system with fork"):
        run("1")


def test_the_way_of_a_snippet():
    assert [way_of(text) for text in ("f(x)", "y = f(x)", "", "y = f(", "await x")] == [
        *("expression", "statements", "statements", "", "")
    ]


# --- the tests that come along ----------------------------------------------------------------------------------------


def proved(entry):
    """A test holds for the true snippet, and neither for an empty one nor for a wrong one."""
    setup, test = entry["setup"], entry["test"]
    right, empty, wrong = (run(text, test, setup) for text in (SNIPPETS[entry["case_id"]], "", "None"))
    return right.outcome == "passed" and empty.outcome != "passed" and wrong.outcome != "passed"


def test_the_packaged_tests_are_of_the_sample_and_say_what_its_checks_say():
    checks = {line["snippet"]: line for line in map(json.loads, CHECKS.read_text(encoding="utf-8").splitlines())}
    assert len({entry["case_id"] for entry in TESTS}) == len(TESTS) >= 200
    for entry in TESTS:
        check = checks[SNIPPETS[entry["case_id"]]]
        assert (entry["setup"], entry["test"]) == (check["setup"], check["check"])


@pytest.mark.parametrize("place", range(0, 240, 12))
def test_some_packaged_tests_tell_right_from_wrong(place):
    assert proved(TESTS[place]), TESTS[place]


@pytest.mark.long
def test_all_packaged_tests_tell_right_from_wrong():
    assert [entry for entry in TESTS if not proved(entry)] == []

"""Does a snippet do what a test says? Each trial runs in a fresh Python process, with limits.

The process begins in an empty folder of its own, the only one it can write to, in isolated mode (no user site, no
``PYTHON*`` variables), with an environment that has nothing of the caller's, and under ``limits.confine``.

It is no jail: code that means harm can read what the user can read, and may break out. It takes a container to stop it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from clmeeval_data.sandbox.limits import Limits, confine
from clmeeval_data.sandbox.process import start_python

Outcome = Literal["passed", "failed", "error", "timeout"]
_PROGRAM = "clmeeval_data.sandbox.trial"
_NAME = "<snippet>"


@dataclass(frozen=True)
class Trial:
    """A snippet, what comes before it, and what must hold after it.

    ``setup`` and ``test`` are statements. Where the snippet is an expression, the test finds its value as ``result``.
    """

    setup: str
    snippet: str
    test: str


@dataclass(frozen=True)
class Verdict:
    """How a trial ended.

    ``outcome``: "passed"; "failed", where an assertion does not hold; "error", where anything else is raised or the
    process ends early; "timeout". ``way``: how the snippet was run ("expression" or "statements"; "" where it is no
    Python, or was not reached). ``error``: the exception's type, or what ended the process; "" where it passed.
    """

    outcome: Outcome
    way: str = ""
    error: str = ""


def run_trial(trial: Trial, limits: Limits) -> Verdict:
    """Run setup, snippet and test in a fresh process.

    Raises:
        ConfigError: If the system has no ``fork``.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = start_python(_PROGRAM, Path(folder))
        try:
            said, _ = process.communicate(json.dumps({**asdict(trial), "limits": asdict(limits)}), limits.wait)
        except subprocess.TimeoutExpired:
            return Verdict("timeout", error="out of time")
        except UnicodeDecodeError:
            said = ""
        finally:
            _end(process)
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):  # by the limit on processor time
        return Verdict("timeout", error="out of time")
    return _verdict(said, process.returncode)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.communicate()


def _verdict(said: str, code: int) -> Verdict:
    try:
        return Verdict(**json.loads(said))
    except (ValueError, TypeError):
        return Verdict("error", error=f"the process ended with {f'signal {-code}' if code < 0 else f'code {code}'}")


def main() -> None:
    """What the process does: read one trial from stdin, write its verdict to stdout."""
    job: dict[str, Any] = json.loads(sys.stdin.read())
    limits = Limits(**job.pop("limits"))
    replies = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    warnings.simplefilter("ignore")
    confine(limits, Path.cwd())
    try:
        verdict = tried(Trial(**job))
    except BaseException as error:  # the snippet's own, out of memory included: it must not reach the shell
        verdict = Verdict("error", error=type(error).__name__)
    os.write(replies, json.dumps(asdict(verdict)).encode("utf-8", "replace"))
    os._exit(0)


def tried(trial: Trial) -> Verdict:
    """Run a trial in this very process."""
    way, snippet = way_of(trial.snippet), trial.snippet.strip()
    if not way:
        return Verdict("error", way, "SyntaxError")
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(trial.setup, names)
        if way == "expression":
            names["result"] = eval(compile(snippet, _NAME, "eval"), names)
        else:
            exec(compile(snippet, _NAME, "exec"), names)
        exec(trial.test, names)
    except AssertionError:
        return Verdict("failed", way, "AssertionError")
    except BaseException as error:
        return Verdict("error", way, type(error).__name__)
    return Verdict("passed", way)


def way_of(snippet: str) -> str:
    """How a snippet can be run: an expression where it is one; statements, an empty snippet too; "" if not at all.

    ``await`` outside of a function is not run: an event loop needs sockets, which the limits forbid.
    """
    if _compiles(snippet.strip(), "eval"):
        return "expression"
    return "statements" if _compiles(snippet.strip(), "exec") else ""


def _compiles(code: str, mode: str) -> bool:
    try:
        compile(code, _NAME, mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

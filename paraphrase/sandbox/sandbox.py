"""The process that runs the functions: reads one comparison a line from stdin, writes one verdict a line to stdout.

Each comparison runs in a process of its own, so that nothing that one does reaches the next.
"""

import ast
import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.paraphrase.sandbox.inputs import (
    caught_names,
    free_names,
    modules_for,
    plain_arguments,
    probes_for,
    probing_arguments,
)
from clmeeval_data.paraphrase.sandbox.outcomes import outcome, shown
from clmeeval_data.paraphrase.sandbox.probes import Exhausted, Record
from clmeeval_data.sandbox.limits import Limits, confine

_ERRORS = (ValueError, KeyError, TypeError, AttributeError, StopIteration, OSError, IndexError, RuntimeError)
_PATIENCE = 6  # how much longer a call may take that ran out of time in one version only


class Ended(NamedTuple):
    """How a call ended, what it left behind, and what was done to the probes."""

    result: str
    left: list[str]
    events: list[str]


class _TimeUp(BaseException):
    """A call has taken longer than it may."""


def main() -> None:
    """Answer comparisons until stdin ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        job = json.loads(line)
        if job["module"].partition(".")[0] in sys.stdlib_module_names:
            importlib.import_module(job["module"])  # once, rather than in each child
        replies.write(json.dumps(_in_child(job)) + "\n")
        replies.flush()


def _in_child(job: dict[str, Any]) -> dict[str, Any]:
    limits = Limits(**job["limits"])
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if child == 0:
            os.close(reader)
            _run_child(job, limits, Path(folder), writer)
        os.close(writer)
        try:
            return _reply(reader, limits.wait)
        finally:
            os.close(reader)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _run_child(job: dict[str, Any], limits: Limits, folder: Path, writer: int) -> None:
    """Never returns."""
    try:
        os.setsid()
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        warnings.simplefilter("ignore")
        confine(limits, folder)
        verdict = compare(job["first"], job["second"], job["module"], job["probes"], job["seeds"], limits.call)
    except Exception as error:
        verdict = {"problem": f"{type(error).__name__}: {error}"}
    except BaseException as error:
        verdict = {"problem": type(error).__name__}
    os.write(writer, json.dumps(verdict).encode("utf-8", "replace")[:60_000])
    os._exit(0)


def _reply(reader: int, wait: float) -> dict[str, Any]:
    ready, _, _ = select.select([reader], [], [], wait)
    if not ready:
        return {"problem": "out of time"}
    data = os.read(reader, 65_536)
    if not data:
        return {"problem": "the process died"}
    reply: dict[str, Any] = json.loads(data)
    return reply


def compare(first: str, second: str, module: str, probes: bool, seeds: list[int], seconds: float) -> dict[str, Any]:
    """Run both versions on the same inputs.

    Returns:
        How many inputs were tried, on how many the first version returned, on how many it came to any certain end, and
        the first difference.
    """
    versions = [_Version(code) for code in (first, second)]
    tried = returned = ended = 0
    for seed in seeds:

        def run(version: _Version, time: float = seconds, seed: int = seed) -> Ended | None:
            return _probed(version, seed, time) if probes else _called(version, module, seed, time)

        tried += 1
        results = [run(version) for version in versions]
        if (results[0] is None) != (results[1] is None):
            results = [run(version, seconds * _PATIENCE) for version in versions]
        if results[0] != results[1]:
            if run(versions[0]) != results[0]:
                continue  # differs from itself
            return {"tried": tried, "returned": returned, "ended": ended, "difference": _difference(seed, results)}
        if results[0] is not None:
            ended += results[0].result not in ("raised NameError", "raised TypeError", "raised AttributeError")
            returned += results[0].result.startswith("returned")
    return {"tried": tried, "returned": returned, "ended": ended, "difference": None}


def _difference(seed: int, results: list[Ended | None]) -> str:
    one, other = results
    if one is None or other is None:
        return f"seed {seed}: only the {'first' if one is None else 'second'} version runs out of time"
    for name, before, after in zip(Ended._fields, one, other, strict=True):
        if before != after and isinstance(before, list) and isinstance(after, list):
            pairs = zip([*before, "end"], [*after, "end"], strict=False)
            place, (old, new) = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
            return f"seed {seed}: {name} {place}: {old[:300]} | {new[:300]}"
        if before != after:
            return f"seed {seed}: {name}: {str(before)[:300]} | {str(after)[:300]}"
    return f"seed {seed}"


class _Version:
    """One version of the function, without its decorators."""

    def __init__(self, code: str) -> None:
        self.tree = ast.parse(code)
        definition = self.tree.body[0]
        if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
            raise TypeError(f"expected a function, got {type(definition).__name__}")
        definition.decorator_list = []
        self.name = definition.name
        self.free_names = free_names(code)
        self._compiled = compile(self.tree, "<code>", "exec", dont_inherit=True)

    def defined(self, names: Mapping[str, object]) -> Callable[..., object]:
        """The function, made anew, with these global names."""
        scope: dict[str, Any] = {"__name__": "sandbox", **names}
        exec(self._compiled, scope)
        function: Callable[..., object] = scope[self.name]
        return function


def _called(version: _Version, module: str, seed: int, seconds: float) -> Ended | None:
    """How the function ends when called with plain values; None if it takes too long."""
    names = vars(importlib.import_module(module)) if module else modules_for(version.free_names)
    function = version.defined(names)
    given, named = plain_arguments(function, seed)

    def left() -> Iterator[str]:
        yield from (shown(value) for value in (*given, *named.values()))

    return _timed(lambda: outcome(lambda: function(*given, **named), left), seconds, None)


def _probed(version: _Version, seed: int, seconds: float) -> Ended | None:
    """How the function ends when called with probes, and with probes for all that it doesn't define itself."""
    errors = {name: type(name, (Exception,), {}) for name in sorted(caught_names(version.tree, version.free_names))}
    record = Record(seed, (*_ERRORS, *errors.values()))
    names = probes_for(version.free_names, record, errors)
    arguments: list[object] = []

    def call() -> object:
        function = version.defined(names)
        given, named = probing_arguments(function, record, seed)
        arguments.extend((*given, *named.values()))
        return function(*given, **named)

    def left() -> Iterator[str]:
        yield from (shown(value) for value in arguments)

    return _timed(lambda: outcome(call, left), seconds, record)


def _empty_folder() -> None:
    """Remove the files that an earlier call has left in the working folder."""
    for path in Path.cwd().iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _timed(call: Callable[[], tuple[str, list[str]]], seconds: float, record: Record | None) -> Ended | None:
    def stop(_number: int, _frame: object) -> None:
        raise _TimeUp

    _empty_folder()
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        result, left = call()
    except (_TimeUp, Exhausted, RecursionError, MemoryError):
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return Ended(result, left, record.events if record is not None else [])

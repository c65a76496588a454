"""Running two versions of a function: what is told apart, what it may not do, and that rewriting changes nothing.

The proof on real functions is in two sizes: a few dozen of the standard library here, all of it in the slow test.
"""

import ast
import gzip
import importlib
import inspect
import json
import pkgutil
import sys
import time
import warnings
from pathlib import Path

import pytest

from clmeeval_data import syntax
from clmeeval_data.errors import ConfigError
from clmeeval_data.paraphrase.engine import Setting
from clmeeval_data.paraphrase.sandbox.inputs import Values, free_names, plain_arguments
from clmeeval_data.paraphrase.sandbox.outcomes import shown
from clmeeval_data.paraphrase.sandbox.probes import Probe, Record
from clmeeval_data.paraphrase.sandbox.runner import Comparison, Runner
from clmeeval_data.paraphrase.syntax_engine import SyntaxEngine
from clmeeval_data.sandbox.limits import Limits

DATA = Path(__file__).parents[3] / "shared" / "data"
SMALL = (
    "bisect",
    "calendar",
    "colorsys",
    "fnmatch",
    "heapq",
    "keyword",
    "posixpath",
    "shlex",
    "statistics",
    "textwrap",
)


@pytest.fixture(scope="module")
def runner():
    with Runner() as found:
        yield found


def body(text, parameters="a, b"):
    lines = "".join(f"    {line}\n" for line in text.split("\n"))
    return f"def f({parameters}):\n{lines}"


SAME = {
    "a variable": ("return a + b", "c = a + b\nreturn c"),
    "an exception": ("raise ValueError(a)", "raise ValueError(b)"),
    "a change of an argument": ("if a == [1]:\n    a.append(b)", "if a == [1]:\n    a += [b]"),
    "a generator": ("yield a\nyield b", "yield from (a, b)"),
    "not a number": ("return float('nan')", "return float('nan')"),
    "an object": ("return object()", "return object()"),
    "a recursive list": ("a = [1]\na.append(a)\nreturn a", "a = [1]\na.append(a)\nreturn a"),
    "a file of its own": ("open('x', 'x').close()\nreturn 1", "open('x', 'x').close()\nreturn 1"),
    "an exit": ("import sys\nsys.exit(a)", "raise SystemExit"),
}
DIFFERENT = {
    "a result": ("return 1", "return 2"),
    "a type": ("return 1", "return True"),
    "a sign": ("return 0.0", "return -0.0"),
    "an order": ("return {1: 2, 3: 4}", "return {3: 4, 1: 2}"),
    "an exception": ("raise KeyError(1)", "raise IndexError(1)"),
    "none": ("return 1", "raise KeyError"),
    "what is left of an argument": ("a.append(1)", "a.append(2)"),
    "the items of a generator": ("yield 1\nyield 2", "yield 1"),
    "the end of a generator": ("yield 1\nraise KeyError", "yield 1"),
    "an endless loop": ("return 1", "while True:\n    pass"),
}


@pytest.mark.parametrize("case", SAME)
def test_equal_results_are_equal(case, runner):
    found = runner.compare(*map(body, SAME[case]))
    assert found.difference == found.problem == ""
    assert found.tried == 16


@pytest.mark.parametrize("case", DIFFERENT)
def test_other_results_are_told_apart(case, runner):
    for probes in (False, True):
        found = runner.compare(*map(body, DIFFERENT[case]), range(40), probes=probes)
        assert found.difference.startswith("seed ")
        assert found.is_runnable


def test_a_coroutine_is_run(runner):
    one, other = "async def f(a):\n    return 1\n", "async def f(a):\n    return 2\n"
    assert "returned coroutine(int 1) | returned coroutine(int 2)" in runner.compare(one, other).difference
    awaited = "async def f(a):\n    async with a as b:\n        return [c async for c in b.d()], await a\n"
    found = runner.compare(awaited, awaited, range(60), probes=True)
    assert found.difference == ""
    assert found.returned


def test_what_differs_from_itself_is_not_compared(runner):
    found = runner.compare(body("import random\nreturn random.random()"), body("return 2"))
    assert (found.returned, found.difference) == (0, "")
    assert not found.is_runnable


def test_a_function_without_inputs_that_fit_is_not_runnable(runner):
    assert not runner.compare(body("return unknown(a)"), body("return unknown(b)")).is_runnable
    assert runner.compare(body("return unknown(a)"), body("return unknown(a)"), probes=True).is_runnable


def test_decorators_are_left_out_and_modules_found(runner):
    code = "@unknown\ndef f(a=os.sep):\n    return math.floor(2.5), a\n"
    found = runner.compare(code, code.replace("math.floor(2.5)", "2"))
    assert found.returned
    assert found.difference == ""


FORBIDDEN = {
    "writing": "open({outside!r}, 'w')",
    "writing by number": "__import__('os').open({outside!r}, 65)",
    "appending": "open({outside!r}, 'a')",
    "making a folder": "__import__('os').mkdir({outside!r})",
    "removing": "__import__('os').remove({inside!r})",
    "renaming": "__import__('os').rename({inside!r}, 'x')",
    "linking": "__import__('os').symlink({inside!r}, {outside!r})",
    "truncating": "__import__('os').truncate({inside!r}, 0)",
    "copying": "__import__('shutil').copyfile({inside!r}, {outside!r})",
    "a link to the outside": "__import__('pathlib').Path('../x').write_text('')",
    "a socket": "__import__('socket').socket()",
    "a look-up": "__import__('socket').getaddrinfo('localhost', 80)",
    "a process": "__import__('subprocess').run(['true'])",
    "a shell": "__import__('os').system('true')",
    "a fork": "__import__('os').fork()",
    "another program": "__import__('os').execv('/bin/true', ['true'])",
    "a signal": "__import__('os').kill(1, 0)",
    "a foreign library": "__import__('ctypes').CDLL(None)",
    "a database": "__import__('sqlite3').connect('x')",
    "more limits": "__import__('resource').setrlimit(0, (-1, -1))",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_functions_may_not_do(name, runner, tmp_path):
    inside, outside = tmp_path / "kept", tmp_path / "new"
    inside.write_text("kept")
    act = FORBIDDEN[name].format(inside=str(inside), outside=str(outside))
    refused = body(f"try:\n    {act}\nexcept (PermissionError, ImportError, ValueError):\n    return 'refused'")
    found = runner.compare(refused, body("return 'refused'"))
    assert found.difference == found.problem == ""
    assert found.returned == 16
    assert inside.read_text() == "kept"
    assert not outside.exists()


@pytest.mark.parametrize(
    ("act", "problem"),
    [("__import__('os')._exit(0)", "the process died"), ("__import__('os').abort()", "the process died")],
)
def test_a_crash_is_a_problem_and_the_next_one_runs(act, problem, runner):
    assert runner.compare(body(act), body("return 1")).problem == problem
    assert runner.compare(body("return 1"), body("return 1")).returned == 16


def test_time_and_memory_end():
    limits = Limits(seconds=2, wait=4, memory=1 << 29, call=0.05)
    with Runner(limits) as found:
        started = time.monotonic()
        deaf = body("import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass")
        assert found.compare(deaf, deaf).problem in ("the process died", "out of time")  # by the two limits
        asleep = body("import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0)\ntime.sleep(100)")
        assert found.compare(asleep, asleep).problem == "out of time"
        assert time.monotonic() - started < 30
        hungry = body("x = [0]\nwhile True:\n    x += x")
        assert found.compare(hungry, hungry).returned == 0
        full = body("f = open('x', 'w')\nwhile True:\n    f.write('x' * 100000)")
        assert found.compare(full, full).returned == 0


def test_the_process_is_started_when_needed_and_ends():
    runner = Runner()
    assert runner.compare(body("return 1"), body("return 1")).returned == 16
    process = runner._process
    runner._process.kill()
    runner._process.wait()
    assert runner.compare(body("return 1"), body("return 1")).problem.startswith("the process died")
    assert runner.compare(body("return 1"), body("return 1")).returned == 16
    assert process.poll() is not None
    runner.close()
    assert runner._process is None


def test_no_fork_is_an_error_that_says_so(monkeypatch):
    monkeypatch.delattr("os.fork")
    with pytest.raises(ConfigError, match="needs a system with fork"):
        Runner().compare(body("return 1"), body("return 1"))


def test_code_that_is_no_function_is_a_problem(runner):
    assert runner.compare("x = 1", "x = 1").problem.startswith("TypeError: expected a function")
    assert runner.compare("def f(:", "def f(:").problem.startswith("SyntaxError")


def test_inputs_depend_on_the_seed_alone():
    def function(a, b=1, *c, d, e=2, **f): ...

    for seed in range(30):
        one, other = plain_arguments(function, seed), plain_arguments(function, seed)
        assert shown(one) == shown(other)
        assert len(one[0]) >= 1
        assert "d" in one[1]
    assert len({shown(plain_arguments(function, seed)) for seed in range(30)}) > 20
    assert shown(Values(3).any()) == shown(Values(3).any())


def test_free_names_come_from_outside():
    code = "def f(a, b=c):\n    global d\n    d = [e for e in g(a)]\n    return len(d), lambda h: h + i\n"
    assert free_names(code) == {"c", "d", "g", "i"}


def test_a_probe_writes_everything_down_and_answers_alike():
    def play(record):
        probe = Probe(record)
        try:
            probe.x = probe.y(1, k=[probe]) + 2
            with probe as inner:
                for item in probe[inner]:
                    f"{item:>3}{item!r}{len(probe)}"
            del probe.x
            return [bool(probe), probe < 3, 3 in probe, -probe, str(probe), int(probe)]
        except Exception as error:
            return repr(error)

    records = [[Record(seed, (ValueError, KeyError)) for seed in range(40)] for _ in range(2)]
    played = [[shown(play(record)) for record in group] for group in records]
    assert played[0] == played[1]
    assert [record.events for record in records[0]] == [record.events for record in records[1]]
    assert "1 get y" in records[0][0].events
    assert any("raises KeyError" in record.events for record in records[0])


def check(runner, functions, seeds=range(20), enough=None):
    """Rewrite and run functions, up to ``enough`` that return; how many did on some input, and the differences found.

    ``functions`` are pairs of a module's name, "" for none, and a function's text.
    """
    engine = SyntaxEngine(Setting(seed=1))
    returned, differences = 0, []
    for module, code in functions:
        rewritten = engine.rewritten(code)
        if rewritten is None:
            continue
        if returned == enough:
            break
        found = runner.compare(code, rewritten.text, seeds, module)
        returned += found.returned > 0
        if found.difference:
            differences.append(f"{module} {rewritten.kinds} {found.difference}\n{code}\n{rewritten.text}")
    return returned, differences


def functions_of(module):
    """The functions of a module of the standard library, without methods."""
    source = inspect.getsource(importlib.import_module(module))
    return [(module, found.code) for found in syntax.functions(source) if "." not in found.name]


def test_rewritten_functions_of_the_standard_library_do_the_same(runner):
    functions = [found for module in SMALL for found in functions_of(module)]
    returned, differences = check(runner, functions, range(14))
    assert not differences, "\n".join(differences)
    assert returned >= 60


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore")
def test_a_thousand_functions_do_the_same(runner):
    functions = [found for module in sorted(pure_modules()) for found in functions_of(module)]
    if DATA.is_dir():
        functions += [("", code) for code in corpus(20)]
    returned, differences = check(runner, functions, enough=1000)
    assert not differences, "\n".join(differences)
    assert returned == 1000


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore")
def test_real_functions_do_the_same_things_in_the_same_order(runner):
    if not DATA.is_dir():
        pytest.skip("the raw data is not here")
    engine = SyntaxEngine(Setting(seed=2))
    runnable = 0
    for code in corpus(21):
        rewritten = engine.rewritten(code)
        if rewritten is not None:
            found = runner.compare(code, rewritten.text, range(20), probes=True)
            assert found.difference == "", f"{rewritten.kinds}\n{code}\n{rewritten.text}"
            runnable += found.is_runnable
    assert runnable >= 700


def pure_modules():
    """The modules of the standard library that are written in Python and can be imported without an effect."""
    left_out = {"antigravity", "this", "idlelib", "lib2to3", "test", "turtle", "turtledemo", "tkinter", "__main__"}
    packages = {"asyncio", "collections", "concurrent", "email", "encodings", "html", "http", "importlib", "json"}
    packages |= {"logging", "multiprocessing", "re", "tomllib", "unittest", "urllib", "wsgiref", "xml", "zoneinfo"}
    names = {name for name in sys.stdlib_module_names - left_out if not name.startswith("_")}
    for name in packages & names:
        path = importlib.import_module(name).__path__
        names |= {f"{name}.{found.name}" for found in pkgutil.iter_modules(path) if not found.name.startswith("__")}
    for name in names:
        try:
            inspect.getsource(importlib.import_module(name))
        except (ImportError, OSError, TypeError, AttributeError):
            continue
        yield name


def corpus(every):
    """Functions of the raw data as the builders show them, one in ``every``."""
    number = 0
    for name in ("test", "valid"):
        with gzip.open(DATA / f"codesearchnet_python_{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if number % every == 0:
                    code = syntax.strip_docstrings(json.loads(line)["code"])
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        try:
                            ast.parse(code)
                        except (SyntaxError, ValueError):
                            continue
                    yield code


def test_a_comparison_of_nothing_is_not_runnable():
    assert not Comparison(problem="out of time").is_runnable
    assert Comparison(ended=1).is_runnable

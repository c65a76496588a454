"""The engine for code: what it promises for every function, and what it makes of hostile ones."""

import ast
import gzip
import json
import re
import time
from pathlib import Path

import pytest

from clmeeval_data import syntax
from clmeeval_data.errors import ConfigError
from clmeeval_data.paraphrase.engine import Setting
from clmeeval_data.paraphrase.equivalence import alpha_equivalent
from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import LONGEST, FunctionText, Replacement, replaced
from clmeeval_data.paraphrase.rewrites.names import renamed
from clmeeval_data.paraphrase.syntax_engine import KINDS, SLIGHT, SyntaxEngine, arity

DATA = Path(__file__).parents[3] / "shared" / "data"
NAMES = "names"
CODE = '''def find(self, rows, limit=0):
    """Find."""
    result = []
    for row in rows:
        if row.value is not None:
            result.append(row.value)  # keep
    if not result:
        return None
    else:
        found = [value for value in result if 0 < value]
        text = "{} of {}".format(found, limit)
        return self.log(text)
'''


def rewrite(code, seed=0, strength=3):
    return SyntaxEngine(Setting(seed=seed, strength=strength)).rewrite([code])[0]


def test_it_keeps_to_the_protocol():
    engine = SyntaxEngine(Setting())
    assert (engine.name, engine.version, engine.model) == ("syntax", "1", "")
    assert engine.rewrite([]) == []
    many = engine.rewrite([CODE, "def f(:", CODE])
    assert many[0] == many[2] is not None
    assert many[1] is None


def test_the_same_seed_gives_the_same_and_another_seed_something_else():
    assert rewrite(CODE) == rewrite(CODE)
    assert len({rewrite(CODE, seed) for seed in range(12)}) >= 6


@pytest.mark.parametrize("strength", [1, 2, 3, 5])
def test_the_strength_bounds_the_kinds(strength):
    used = set()
    for seed in range(12):
        kinds = SyntaxEngine(Setting(seed=seed, strength=strength)).rewritten(CODE).kinds
        assert 1 <= len(kinds) <= strength
        assert len(set(kinds)) == len(kinds)
        assert set(kinds) <= {NAMES, *KINDS, *SLIGHT}
        used |= set(kinds)
    assert len(used) >= 4


def test_more_strength_changes_more():
    different = [sum(map(str.__ne__, CODE.split(), rewrite(CODE, 1, strength).split())) for strength in (1, 8)]
    assert different[0] < different[1]


def test_a_strength_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="a strength of 0 rewrites nothing"):
        SyntaxEngine(Setting(strength=0))


def test_comments_docstrings_and_the_first_argument_stay():
    for seed in range(12):
        rewritten = rewrite(CODE, seed)
        assert '    """Find."""\n' in rewritten
        assert "# keep" in rewritten
        assert re.match(r"def find\(self, \w+, \w+=0\):\n", rewritten)
        assert arity(ast.parse(rewritten).body[0].args) == arity(ast.parse(CODE).body[0].args)
        assert syntax.parses(rewritten)


@pytest.mark.parametrize(
    "code",
    [
        "def f(value):\n    result = value\n    return eval('result')",
        "def f(value):\n    result = value\n    return '{result}'.format(**locals())",
        "def f(value):\n    result = vars()\n    return result",
        "def f(value):\n    result = sys._getframe().f_locals\n    return result",
        "def f(value):\n    import inspect as i\n    result = i.stack()\n    return result",
        "def f(value):\n    result = inspect.currentframe()\n    return result",
        "def f(value):\n    exec('value = 1')\n    return value",
        "def f(value):\n    result = f.__code__.co_varnames\n    return result",
        "@numba.njit\ndef f(value):\n    result = []\n    return result",
    ],
)
def test_a_function_that_can_look_at_itself_is_left_alone(code):
    assert rewrite(code) is None


@pytest.mark.parametrize(
    "code",
    [
        "",
        "\n",
        "x = 1",
        "def f(): pass\ndef g(): pass",
        "class C:\n    def f(self, value):\n        return [value]",
        "def f(value):\n    print value\n",
        "def f(value):\n\treturn 1\n        return 2",
        "def f(value):\n    return '\0'",
        "\0",
        "def f(value):\n    return '\ud800'",
        "\ufeffdef f(value):\n    return g(value)",
        "def f(value):\r\n    return g(value)\r\n",
        "def f(value):\n\x0c    return g(value)\n",
        "def f(value):\n    return " + "(" * 5000 + ")" * 5000,
        "def f(value):\n    return " + "-" * 50_000 + "value",
        "def f(value):\n    return " + "value." * 30_000 + "x",
        "def f(value):\n    return " + " + ".join(["value"] * 12_000),
        "def f(value):\n" + "".join(f"{' ' * (depth + 1)}if value:\n" for depth in range(120)) + " " * 122 + "pass",
        "def f(value):\n    return {" + "[" * 199 + "]" * 199,
        "def f(value):\n    'open",
    ],
    ids=range(20),
)
def test_what_is_no_function_has_no_rewriting(code):
    assert rewrite(code) is None


@pytest.mark.parametrize(
    "line",
    [
        "    value = g(value, 'äöü€')\n",
        "    if value:\n        return g(value)\n",
        "    for item in value:\n        g(item)\n",
        "    if not value:\n        g(value)\n    else:\n        h(value)\n",
        "    x = [y for y in value]\n",
    ],
)
def test_a_long_function_takes_no_time(line):
    header = "def f(value):\n"
    long = header + line * (1_000_000 // len(line))
    started = time.process_time()
    assert rewrite(long) is None
    assert time.process_time() - started < 1
    code = header + line * 150
    started = time.process_time()
    rewrite(code)
    assert time.process_time() - started < 15


def test_the_longest_text_is_read_and_no_longer_one():
    head = "def f(value):\n    result = g(value)\n    return result\n#"
    assert FunctionText.parse(head + "x" * (LONGEST - len(head))) is not None
    assert FunctionText.parse(head + "x" * (LONGEST - len(head) + 1)) is None


NAMED = {
    "parameters and locals": (
        "def f(self, path, msg):\n    res = g(path)\n    return res, msg",
        {"path", "msg", "res"},
    ),
    "a keyword argument of a call": ("def f(path):\n    return g(path=path)", {"path"}),
    "an annotation that bears the same name": ("def f(path: path, msg: str):\n    return path, msg", {"msg"}),
    "arguments by name": ("def f(path, **kwargs):\n    msg = g(path, kwargs)\n    return msg", {"msg"}),
    "parameters that have to be named": ("def f(path, *, msg):\n    res = path\n    return res, msg", {"res"}),
    "a decorator that may need the names": ("@app.route('/')\ndef f(path):\n    msg = path\n    return msg", {"msg"}),
    "a decorator that doesn't": ("@staticmethod\ndef f(path):\n    msg = path\n    return msg", {"path", "msg"}),
    "a view of a web framework": ("def f(request, path):\n    msg = path\n    return msg", {"msg"}),
    "a test": ("def test_f(path):\n    msg = path\n    return msg", {"msg"}),
    "a function that calls itself by name": ("def f(path):\n    msg = f(path=path)\n    return msg", {"msg"}),
    "a method that calls itself by name": ("def f(self, path):\n    msg = self.f(path=1)\n    return msg", {"msg"}),
    "a comment": ("def f(path):\n    msg = path  # the msg\n    return msg", {"path"}),
    "a docstring": ("def f(path):\n    'Take path.'\n    msg = path\n    return msg", {"msg"}),
    "a query that reads names": ("def f(path, msg):\n    return path.query('a > @msg')", {"path"}),
    "a parameter of an inner function": ("def f(path, msg):\n    g = lambda path: path\n    return g(msg)", {"msg"}),
    "a parameter that an inner function sets": (
        "def f(path, msg):\n    def g():\n        nonlocal path\n        path = 1\n    return g, path, msg",
        {"msg"},
    ),
    "one of several": ("def f(path1, path2):\n    msg = path1 + path2\n    return msg", {"msg"}),
    "a phrase": ("def f(is_path, to_msg):\n    res = is_path\n    return res, to_msg", {"res"}),
    "names of its own": ("def f(_path, __msg):\n    return _path, __msg", set()),
}


@pytest.mark.parametrize("case", NAMED)
def test_which_names_change(case):
    code, expected = NAMED[case]
    result = renamed(FunctionText.parse(code), Choice(0, code))
    before = {found.name for found in syntax.variables(code)}
    changed = before - {found.name for found in syntax.variables(result or code)}
    assert changed == expected
    assert result is None or alpha_equivalent(code, result, parameters=True)


def test_new_names_are_new():
    code = "def f(cfg, loc):\n    res = cfg\n    return res, self.result, loc, 'settings'"
    for seed in range(8):
        result = renamed(FunctionText.parse(code), Choice(seed, code))
        names = {found.name for found in syntax.variables(result)} - {"self"}
        assert len(names) == 3
        assert not names & {"cfg", "loc", "res", "result", "settings"}
        assert alpha_equivalent(code, result, parameters=True)


def test_replacements_may_not_overlap():
    assert replaced("aäb", [Replacement(3, 4, "c"), Replacement(0, 1, "")]) == "äc"
    with pytest.raises(ValueError, match="overlap at byte 1"):
        replaced("abc", [Replacement(0, 2, ""), Replacement(1, 3, "")])


def corpus(every):
    """Functions of the raw data as the builders show them, one in ``every``."""
    number = 0
    for name in ("test", "valid", "cosqa_subset"):
        with gzip.open(DATA / f"codesearchnet_python_{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                code = json.loads(line)["code"]
                if number % every == 0 and parses_here(code := syntax.strip_docstrings(code)):
                    yield code


def parses_here(code):
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return True


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_nearly_every_real_function_gets_a_rewriting():
    if not DATA.is_dir():
        pytest.skip("the raw data is not here")
    engine = SyntaxEngine(Setting())
    functions = list(corpus(every=97))
    results = engine.rewrite(functions)
    assert len(functions) > 200
    assert sum(result is not None for result in results) >= 0.95 * len(functions)
    for code, result in zip(functions, results, strict=True):
        if result is not None:
            assert syntax.parses(result)
            assert ast.dump(ast.parse(result)) != ast.dump(ast.parse(code))
            assert syntax.comments(result) == syntax.comments(code) or sorted(syntax.comments(result)) == sorted(
                syntax.comments(code)
            )

"""The normal form: what it takes for the same is shown by the rewritings' own tests; here is what it must tell apart.

Each pair looks alike and is not the same, which is shown by running both.
"""

import pytest

from clmeeval_data.paraphrase.normal.form import normal_form
from clmeeval_data.paraphrase.sandbox.runner import Runner


def returning(expression):
    return f"def f(a, b, x):\n    return {expression}\n"


EXPRESSIONS = {
    "sides": ("a < b", "b > a"),
    "sides of an equation": ("a == b", "b == a"),
    "unequal": ("not a == b", "a != b"),
    "not below": ("not a < b", "a >= b"),
    "order of conditions": ("a and b", "b and a"),
    "a truth asked for twice": ("not (a and b)", "not a or not b"),
    "a value or its truth": ("a and b", "bool(a and b)"),
    "a truth as it is": ("bool(a)", "a"),
    "an object that is evaluated twice": ("a.y <= x.y and x.y <= b.y", "a.y <= x.y <= b.y"),
    "order of formatting": ("f'{a.y} {b.y}'", "'{} {}'.format(a.y, b.y)"),
    "format and str": ("f'{a}'", "f'{a!s}'"),
    "str and repr": ("f'{a!s}'", "f'{a!r}'"),
    "a value that may be a tuple": ("'%s' % x", "f'{x!s}'"),
    "numbers": ("'%d' % (x,)", "'{:d}'.format(x)"),
    "a text that may be none": ("'a' + x", "f'a{x}'"),
    "key and value": ("{y.k(): y.v() for y in a}", "dict([[y.v(), y.k()][::-1] for y in a])"),
    "classes": ("isinstance(a, (b, x))", "isinstance(a, x) or isinstance(a, b)"),
    "an empty list": ("len(a) == 0", "not a"),
    "operands": ("a + b", "b + a"),
}
STATEMENTS = {
    "the other branch": ("    if a:\n        return 1\n    return 2\n", "    if a:\n        return 2\n    return 1\n"),
    "a branch that goes on": (
        "    if a:\n        b()\n    else:\n        x()\n",
        "    if a:\n        b()\n    x()\n",
    ),
    "a test that is still made": ("    if a:\n        return\n    b()\n", "    if not b:\n        return\n    b()\n"),
    "one list or two": (
        "    y = z = []\n    y.append(a)\n    return z\n",
        "    y = []\n    z = []\n    y.append(a)\n    return z\n",
    ),
    "in place": ("    x += a\n    return x\n", "    x = x + a\n    return x\n"),
    "what the handler sees": (
        "    o = None\n    try:\n        o = []\n        for y in a:\n            o.append(y.z())\n"
        "    except Exception:\n        pass\n    return o\n",
        "    o = None\n    try:\n        o = [y.z() for y in a]\n    except Exception:\n        pass\n    return o\n",
    ),
    "what the context swallows": (
        "    o = 1\n    with a:\n        o = 2\n        if b():\n            o = 3\n    return o\n",
        "    o = 1\n    with a:\n        o = 3 if b() else 2\n    return o\n",
    ),
    "what the loop leaves behind": (
        "    y = b\n    o = []\n    for y in a:\n        o.append(y)\n    return o, y\n",
        "    y = b\n    o = [y for y in a]\n    return o, y\n",
    ),
    "key before value": (
        "    o = {}\n    for y in a:\n        o[y.k()] = y.v()\n    return o\n",
        "    return {y.k(): y.v() for y in a}\n",
    ),
    "what is evaluated first": ("    y = a.p\n    return b.q, y\n", "    return b.q, a.p\n"),
    "variables that change places": ("    a, b = b, a\n    return a, b\n", "    a = b\n    b = a\n    return a, b\n"),
    "a target before its value": ("    y = a()\n    b()[x] = y\n", "    z = b()\n    z[x] = a()\n"),
    "a loop and its first turn": ("    for y in a:\n        return y\n", "    for y in a:\n        return x\n"),
    "a default that is false": ("    x = x or a\n    return x\n", "    x = a if x is None else x\n    return x\n"),
    "a closure that sees the list": (
        "    o = []\n    g = lambda: len(o)\n    for y in a:\n        o.append(g())\n    return o\n",
        "    o = []\n    g = lambda: len(o)\n    o = [g() for y in a]\n    return o\n",
    ),
    "the exception": ("    raise ValueError\n", "    raise KeyError\n"),
}
PAIRS = {name: tuple(map(returning, pair)) for name, pair in EXPRESSIONS.items()}
PAIRS |= {name: tuple(f"def f(a, b, x):\n{body}" for body in pair) for name, pair in STATEMENTS.items()}


@pytest.fixture(scope="module")
def runner():
    with Runner() as found:
        yield found


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_not_the_same_has_another_form(name, runner):
    one, other = PAIRS[name]
    differs = [runner.compare(one, other, range(90), probes=probes).difference for probes in (False, True)]
    assert any(differs), "this pair is no good: it can't be told apart by running it"
    assert normal_form(one) != normal_form(other)


def test_a_form_is_the_same_for_the_same_text_and_none_for_no_python():
    assert normal_form(returning("a")) == normal_form(returning("(a)  # c"))
    assert normal_form("def f(:") is None
    assert normal_form("def f():\n    return '\ud800'") is None
    assert normal_form("x = " + "-" * 100_000 + "1") is None


@pytest.mark.parametrize(
    "body",
    [
        "    global y\n    y = a\n    return y\n",
        "    y = a\n    def g():\n        nonlocal y\n        y = b\n    return y\n",
        "    y = a\n    return (y for _ in b)\n",
        "    class C:\n        y = a\n    return C\n",
    ],
)
def test_variables_that_others_see_are_left_alone(body):
    code = f"def f(a, b):\n{body}"
    assert normal_form(code) == normal_form(code.replace("    return", "\n    return"))
    assert "id='y'" in normal_form(code) or "'y'" in normal_form(code)

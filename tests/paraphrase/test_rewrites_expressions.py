"""Rewritings inside expressions, one row each: the exact text that must come out, or that nothing does, and why."""

import pytest

from clmeeval_data.paraphrase.normal.form import normal_form
from clmeeval_data.paraphrase.rewrites import conditions, formatting, literals, quotes
from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import FunctionText, replaced
from clmeeval_data.paraphrase.sandbox.runner import Runner

FINDERS = {"conditions": conditions.find, "formatting": formatting.find, "literals": literals.find}


def results(kind, code, seed=0):
    """The function with each place of this kind rewritten, one at a time."""
    text = FunctionText.parse(code)
    sites = FINDERS[kind](text, Choice(seed, code))
    return [replaced(code, site.replacements) for site in sites]


def returning(expression, parameters="a, b, x"):
    return f"def f({parameters}):\n    return {expression}\n"


def choosing(test, parameters="a, b, x"):
    return f"def f({parameters}):\n    if {test}:\n        return 1\n"


# kind, how the expression stands in the function, the expression, what it becomes
CHANGES = [
    ("conditions", choosing, "not (a or b)", "not a and not b"),
    ("conditions", choosing, "not (a and b)", "not a or not b"),
    ("conditions", choosing, "not (a is None or b in x)", "a is not None and b not in x"),
    ("conditions", choosing, "not (a or b and x)", "not a and not (b and x)"),
    ("conditions", choosing, "x and not (a and b)", "x and (not a or not b)"),
    ("conditions", choosing, "not a and not b", "not (a or b)"),
    ("conditions", choosing, "not a or b is not None", "not (a and b is None)"),
    ("conditions", choosing, "a is not None and len(b) == 0", None),
    ("conditions", returning, "not a in b", "a not in b"),
    ("conditions", returning, "not (a is b)", "a is not b"),
    ("conditions", returning, "not a in b and x", "a not in b and x"),
    ("conditions", returning, "a <= x and x < b", "a <= x < b"),
    ("conditions", returning, "x >= 1 and x <= 9", "1 <= x <= 9"),
    ("conditions", returning, "a < x <= b", "a < x and x <= b"),
    ("conditions", returning, "0 < x < b", "x > 0 and x < b"),
    ("conditions", returning, "a or 0 <= x < b", "a or (x >= 0 and x < b)"),
    ("conditions", returning, "0 < x", "x > 0"),
    ("conditions", returning, "'k' == x", "x == 'k'"),
    ("conditions", returning, "-1 >= len(x)", "len(x) <= -1"),
    ("conditions", returning, "isinstance(x, (int, str))", "isinstance(x, int) or isinstance(x, str)"),
    ("conditions", returning, "not isinstance(x, (int, str))", "not (isinstance(x, int) or isinstance(x, str))"),
    ("conditions", returning, "isinstance(x, int) or isinstance(x, str)", "isinstance(x, (int, str))"),
    ("formatting", returning, "'{} {}'.format(a, b)", "f'{a} {b}'"),
    ("formatting", returning, "'{1} {0}'.format(a, b)", "f'{b} {a}'"),
    ("formatting", returning, "'{:>5}|{n!r}'.format(a, n=b)", "f'{a:>5}|{b!r}'"),
    ("formatting", returning, "'{}'.format(a.b[x])", "f'{a.b[x]}'"),
    ("formatting", returning, "'{} {}'.format(a.b, x)", "f'{a.b} {x}'"),
    ("formatting", returning, "'{{{}}}\\n'.format(a)", "f'{{{a}}}\\n'"),
    ("formatting", returning, '"{}".format(a["k"])', None),
    ("formatting", returning, '"%s" % (a["k"],)', None),
    ("formatting", returning, "\"%s\" % (a['k'],)", "f\"{a['k']!s}\""),
    ("formatting", returning, "'%s=%r (100%%)' % (a.n, b.n)", "f'{a.n!s}={b.n!r} (100%)'"),
    ("formatting", returning, "'%s {}' % (a.b,)", "f'{a.b!s} {{}}'"),
    ("formatting", returning, "'%s' % repr(a)", "f'{repr(a)}'"),
    ("formatting", returning, "f'{a} {b:>5} {x!r} {{}}'", "'{} {:>5} {!r} {{}}'.format(a, b, x)"),
    ("formatting", returning, "f'{a.b(x)}'", "'{}'.format(a.b(x))"),
    ("formatting", returning, "'n: ' + str(a.n) + '!'", "f'n: {a.n!s}!'"),
    ("formatting", returning, "'{' + repr(a) + '}'", "f'{{{a!r}}}'"),
    ("literals", returning, "g(list(), dict(), tuple())", ["g([], dict(), tuple())", "g(list(), {}, tuple())"]),
    ("literals", returning, "dict(a=x, b=b)", "{'a': x, 'b': b}"),
    ("literals", returning, "range(0, a)", "range(a)"),
    ("literals", returning, "open(a, 'r')", "open(a)"),
]

# kind, how the expression stands in the function, the expression, why nothing is made of it
STAYS = [
    ("conditions", choosing, "not (a == b or x)", "the types decide what != means"),
    ("conditions", choosing, "not (a < b)", "not a number may be neither below nor above"),
    ("conditions", returning, "not (a and b)", "as a value, a would be asked for its truth twice"),
    ("conditions", returning, "not a and not b", "the same"),
    ("conditions", returning, "a < b", "b may answer otherwise than a"),
    ("conditions", returning, "a == b", "the same"),
    ("conditions", returning, "x > 0", "a constant on the left is not natural"),
    ("conditions", returning, "g < a.b and a.b < b", "a.b may be computed, and be another object the second time"),
    ("conditions", returning, "a <= y and y < b", "y comes from outside and may change in between"),
    ("conditions", returning, "a < x and b < x", "no range"),
    ("conditions", returning, "a < x > b", "no range"),
    ("conditions", returning, "isinstance(x, (int, g))", "g may be missing, or ask the object otherwise"),
    ("conditions", returning, "isinstance(x.y, (int, str))", "x.y would be evaluated twice"),
    ("conditions", returning, "isinstance(x, int) or isinstance(a, str)", "two objects"),
    ("conditions", returning, "isinstance(x, int) and isinstance(x, str)", "not an alternative"),
    ("formatting", returning, "'{} {}'.format(a.b, x.y)", "an f-string would format a.b before it asks for x.y"),
    ("formatting", returning, "'{} {}'.format(a, g)", "g comes from outside, and formatting a might change it"),
    ("formatting", returning, "f'{a.b} {x.y}'", "format would ask for x.y before it formats a.b"),
    ("formatting", returning, "'{:{}}'.format(a, b)", "the width is computed"),
    ("formatting", returning, "f'{a:{b}}'", "the same"),
    ("formatting", returning, "'{0} {0}'.format(a)", "an f-string would evaluate it twice"),
    ("formatting", returning, "'{}'.format(a, b)", "b would not be evaluated"),
    ("formatting", returning, "'{} {}'.format(a)", "there is nothing for the second field"),
    ("formatting", returning, "'{a.b}'.format(a=x)", "the field looks something up"),
    ("formatting", returning, "'{0[k]}'.format(a)", "the same"),
    ("formatting", returning, "'{'.format(a)", "no valid template"),
    ("formatting", returning, "'{}'.format(*a)", "nobody knows how many there are"),
    ("formatting", returning, "a.format(b)", "nobody knows the template"),
    ("formatting", returning, "'\\x7b}'.format(a)", "the escape is a brace"),
    ("formatting", returning, "'%s' % a", "a may be a tuple, or a dict"),
    ("formatting", returning, "'%d' % (a,)", "%d cuts fractions off, and refuses what {:d} takes"),
    ("formatting", returning, "'%5s' % (a,)", "the width counts otherwise"),
    ("formatting", returning, "'%(k)s' % (a,)", "a name in the template"),
    ("formatting", returning, "'%s %s' % (a,)", "too few values"),
    ("formatting", returning, "'100%' % (a,)", "no valid template"),
    ("formatting", returning, "b'%s' % (a,)", "bytes have no f-strings"),
    ("formatting", returning, "f'{a=}'", "shows the text of the expression"),
    ("formatting", returning, "f'{a}' 'b'", "two strings that the parser joins"),
    ("formatting", returning, "'a' + b", "b may be anything"),
    ("formatting", returning, "str(a) + str(b)", "no text in it"),
    ("formatting", returning, "f'{(yield a)}'", "hands control over in the middle"),
    ("literals", returning, "list(a)", "makes a copy"),
    ("literals", returning, "dict(a, b=x)", "the same"),
    ("literals", returning, "dict(**a)", "no names to see"),
    ("literals", returning, "range(1, a)", "does not start at 0"),
    ("literals", returning, "range(False, a)", "is 0, but not written so"),
    ("literals", returning, "open(a, 'rb')", "not the default"),
    ("literals", returning, "set()", "has no display"),
]


@pytest.fixture(scope="module")
def runner():
    with Runner() as found:
        yield found


def written(expected):
    return [] if expected is None else expected if isinstance(expected, list) else [expected]


@pytest.mark.parametrize(("kind", "around", "old", "new"), CHANGES, ids=[row[2] for row in CHANGES])
def test_what_changes(kind, around, old, new, runner):
    code = around(old)
    found = results(kind, code)
    for expected in written(new):
        assert around(expected) in found
    for other in found:
        assert normal_form(other) == normal_form(code)
        assert runner.compare(code, other, range(40), probes=True).difference == ""


@pytest.mark.parametrize(("kind", "around", "old", "why"), STAYS, ids=[row[2] for row in STAYS])
def test_what_stays(kind, around, old, why):
    assert results(kind, around(old)) == [], why


@pytest.mark.parametrize(
    ("code", "new"),
    [
        (
            "def f(a):\n    x = []\n    y: dict = {}\n    return x",
            "def f(a):\n    x = list()\n    y: dict = {}\n    return x",
        ),
        ("def f():\n    raise ValueError", "def f():\n    raise ValueError()"),
        ("def f():\n    raise KeyError() from None", "def f():\n    raise KeyError from None"),
        ("def f(a):\n    while 1:\n        a()", "def f(a):\n    while True:\n        a()"),
        ("def f(a):\n    a()\n    return None", "def f(a):\n    a()"),
        ("def f(a):\n    if a:\n        a()\n        pass\n    a()", "def f(a):\n    if a:\n        a()\n    a()"),
    ],
)
def test_small_words_in_statements(code, new, runner):
    assert new in results("literals", code)
    assert normal_form(new) == normal_form(code)
    assert runner.compare(code, new, range(20), probes=True).difference == ""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def list(a):\n    return g(list())", "list is this function"),
        ("def f(dict):\n    return dict()", "dict is the parameter"),
        ("def f(a):\n    global range\n    return range(0, a)\n    range = a", "range is another one"),
        ("def f(e):\n    raise MyError", "it may be an object"),
        ("def f(e):\n    raise ValueError(e)", "it has an argument"),
        ("def f(a):\n    while 0:\n        a()", "it never runs"),
        ("def f(a):\n    return None", "it is all there is"),
        ("def f(a):\n    pass", "the same"),
        ("def f(a):\n    if a:\n        return\n    a()", "it leaves early"),
        ("def f(a): a(); return", "it shares its line"),
    ],
)
def test_small_words_that_stay(code, why):
    assert results("literals", code) == [], why


def test_quotes_change_where_nothing_inside_has_to():
    code = "def f(a):\n    return g('x', \"it's\", 'a\"b', r'\\d', b'y', f'{a}', '''z''', 'ä')\n"
    text = FunctionText.parse(code)
    (site,) = quotes.find(text, Choice(0, code))
    expected = "def f(a):\n    return g(\"x\", \"it's\", 'a\"b', r'\\d', b\"y\", f'{a}', '''z''', \"ä\")\n"
    assert replaced(code, site.replacements) == expected


def test_nothing_is_changed_inside_an_f_string():
    code = "def f(a, x):\n    return f'{g(list(), not a in x)} {0 < a}'\n"
    for kind in FINDERS:
        assert results(kind, code) == []


def test_a_line_never_gets_longer_than_a_line_should_be():
    name = "a" * 70
    assert results("conditions", f"def f({name}):\n    return isinstance({name}, (int, str))\n") == []

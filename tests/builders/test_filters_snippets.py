"""Filters of snippets: what stands in answers besides Python that does something."""

from dataclasses import replace

import pytest

from clmeeval_data import syntax
from clmeeval_data.builders.filters import foreign_code, idle, incomplete, unrelated, unrelated_name
from clmeeval_data.builders.filters.lexical import content, shared_words
from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import Provenance

PLACE = Provenance("s", "o", "g", "MIT")


def answer(snippet, prompt="sort a list"):
    return Pair(prompt, snippet, "", None, PLACE)


@pytest.mark.parametrize(
    "snippet",
    [
        "subprocess.call('pip install --user numpy && ls', shell=True)",
        "x = '{{ name }}'\ny = \"a; b\"",
        "os.system('''\n$ ls\n''')",
        "i = i - 1\nj = a[-i]",
        "import os; os.getcwd()",
        "re.sub(r'\\$\\w+', '', s)",
        "x = [Service]",
        "try:\n    f()\nexcept ValueError:\n    pass",
        "print('In [1]: done')",
    ],
)
def test_python_stays(snippet):
    assert syntax.parses(snippet)
    assert foreign_code(answer(snippet)) is None


@pytest.mark.parametrize(
    ("snippet", "reason"),
    [
        (">>> a.sort()\n>>> a", "an interpreter's prompt"),
        ("In [4]: a.sort()", "an interpreter's prompt"),
        ("Out[4]: [1, 2]", "an interpreter's prompt"),
        ("Traceback (most recent call last):\n  File 'a.py', line 3", "a traceback"),
        ("ValueError: invalid literal", "a traceback"),
        ("$ pip install numpy", "a command of a shell"),
        ("pip install numpy", "a command of a shell"),
        ("xcode-select --install", "a command of a shell"),
        ("--system-site-packages", "a command of a shell"),
        ("django-tenant-schemas", "a command of a shell"),
        ("{{ item.text|safe }}", "a template"),
        ("{% now 'Y' %}", "a template"),
        ("[Service]\nType=notify", "a configuration file"),
        ("GPIO.cleanUp();", "another language"),
        ("a = new Foo(b)", "another language"),
        ("if (a && b) f()", "another language"),
        ("$x = f($y)", "another language"),
    ],
)
def test_what_is_no_python_goes(snippet, reason):
    assert foreign_code(answer(snippet)) == reason


@pytest.mark.parametrize(
    "snippet",
    [
        "sys.stdout.flush()",
        "globals()",
        "socket.AF_UNIX",
        "a[-1]",
        "total / 2",
        "x/y",
        "'foo'[::-1]",
        "'blah' * 5",
        "x = None",
        "import os\nos.getcwd()",
        "del a",
        "row[2] == day",
        "lambda x: x",
        "[x for x in y]",
    ],
)
def test_what_does_something_stays(snippet):
    assert idle(answer(snippet)) is None


@pytest.mark.parametrize(
    ("snippet", "reason"),
    [
        ("foo", "a name alone"),
        ("import numpy", "an import alone"),
        ("from os import path", "an import alone"),
        ("[]", "a literal alone"),
        ("'0.0.0.0'", "a literal alone"),
        ("b'\\x12'", "a literal alone"),
        ("{'a': -1, 'b': [None, True]}", "a literal alone"),
        ("get_or_create()", "a mere mention of a function alone"),
        ("pass", "an empty statement alone"),
        ("__init__.py", "the name of a file"),
        ("app/settings.py", "the name of a file"),
        ("examples/notebooks", "the name of a file"),
        ("import numpy\nnumpy", "names, literals and imports alone"),
    ],
)
def test_what_does_nothing_goes(snippet, reason):
    assert idle(answer(snippet)) == reason


@pytest.mark.parametrize(
    ("snippet", "reason"),
    [
        ("a[..., 0] = b[:, ..., 1]", None),
        ("f(a[0], b)  # the first", None),
        ("x = 'and so on ...'", None),
        ("def f():\n    return 1", None),
        ("f(..., b=1)", "something is left out"),
        ("with open(a) as f:\n    ...", "something is left out"),
        ("x = [1, 2, ...]", "something is left out"),
        ("for a in b:\n    pass  # do something with a", "something is left out"),
        ("if a:\n    f()  # your code here", "something is left out"),
        ("sorted(a)\n[1, 2, 3]", "output in the code"),
        ("sorted(a)  # -> [1, 2]", "output in the code"),
        ("print(a)  # prints 3", "output in the code"),
        ("print(a)\n# [1, 2, 3]", "output in the code"),
    ],
)
def test_incomplete(snippet, reason):
    assert incomplete(answer(snippet)) == reason


@pytest.mark.parametrize(
    ("prompt", "snippet", "shared"),
    [
        ("Sorting a list of tuples", "a.sort(key=lambda t: t[1])", ["sorting", "list"]),
        ("Convert camelCase names", "to_snake_case(name)", ["case", "names"]),
        ("set the placeholder of a Gtk.Entry", "entry.set_placeholder_text('x')", ["set", "placeholder", "entry"]),
        ("regex for a number", "re.findall(r'\\d+', s)", ["regex"]),
        ("Flask, cannot assign requested address", "days = hours // 100", []),
        ("Return the attribute of an object", "def f(self):\n    return self.x", []),
        ("make a window jump to the front", "root.lift()", ["window"]),
        ("a progress bar", "sys.exit()", []),
    ],
)
def test_words_that_intent_and_snippet_share(prompt, snippet, shared):
    assert shared_words(prompt, snippet) == shared
    assert set(shared) <= set(content(prompt))
    for least in range(4):
        reason = None if len(shared) >= least else "text and code share too few words"
        assert unrelated(answer(snippet, prompt), "cnle", least) == reason


def test_only_titles_are_asked_for_shared_words():
    assert unrelated(answer("sys.exit()", "A progress bar"), "cnle", 1) is not None
    assert unrelated(answer("sys.exit()", "A progress bar."), "cnle", 1) is None
    assert unrelated(replace(answer("sys.exit()", "A progress bar"), rephrasing="bars"), "cnle", 1) is None


def test_descriptions_are_asked_for_shared_words():
    function = Pair("def area(w, h):\n    return w * h", "Return the area of a shape.", "area", None, PLACE)
    assert unrelated(function, "csne", 1) is None
    assert unrelated(function, "csne", 2) == "text and code share too few words"


@pytest.mark.parametrize(
    ("prompt", "snippet", "reason"),
    [
        ("address family of unix sockets", "socket.AF_UNIX", None),
        ("How to open a connection", "socket.AF_UNIX", "a dotted name that the intent doesn't describe"),
        ("A constant of this module.", "socket.AF_UNIX", None),
        ("How to open a connection", "socket.socket()", None),
    ],
)
def test_unrelated_name(prompt, snippet, reason):
    assert unrelated_name(answer(snippet, prompt), 2) == reason

"""Alpha-equivalence: what counts as the same function."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clmeeval_data.paraphrase.equivalence import alpha_equivalent


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a):\n    x = a\n    return x", "def f(a):\n    y = a  # c\n\n    return y"),
        ("def f(a):\n    x, y = a\n    return y, x", "def f(a):\n    y, x = a\n    return x, y"),
        (
            "def f():\n    b = 1\n    a = 2\n    return lambda: (a, b)",
            "def f():\n    y = 1\n    z = 2\n    return lambda: (z, y)",
        ),
        (
            "def f():\n    try: pass\n    except E as e: return e",
            "def f():\n    try: pass\n    except E as x: return x",
        ),
        ("def f(s):\n    return [i for i in s]", "def f(s):\n    return [j for j in s]"),
    ],
)
def test_renamed_locals_are_equivalent(one, other):
    assert alpha_equivalent(one, other)
    assert alpha_equivalent(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a):\n    x = a\n    return x", "def f(a):\n    y = a\n    return x"),
        ("def f(a):\n    x = 1\n    y = 2\n    return x", "def f(a):\n    z = 1\n    z = 2\n    return z"),
        ("def f(a):\n    z = 1\n    z = 2\n    return z", "def f(a):\n    x = 1\n    y = 2\n    return x"),
        ("def f(a): return a", "def f(b): return b"),
        ("def f(): return len", "def f(): return max"),
        ("def f(): return g.a", "def f(): return g.b"),
        ("def f(): return g(a=1)", "def f(): return g(b=1)"),
        ("def f():\n    x = 1\n    return g(x)", "def f():\n    g = 1\n    return g(g)"),
        ("def f(a):\n    x = 1\n    return a", "def f(a):\n    a = 1\n    return a"),
        ("def f(): return 1", "def f(): return True"),
        ("def f(): return 1", "def f(): return 1.0"),
        ("def f(): return 0.0", "def f(): return -0.0"),
        ("def f(): return 'a'", "def f(): return 'b'"),
        ("def f(): return 'a'", "def f(): return b'a'"),
        ("def f(): return 1", "def g(): return 1"),
        ("def f():\n    x = 1\n    return f'{x=}'", "def f():\n    y = 1\n    return f'{y=}'"),
        ("def f():\n    global x\n    x = 1", "def f():\n    global y\n    y = 1"),
        ("def f():\n    import x\n    return x", "def f():\n    import y\n    return y"),
        ("def f(): return a - b", "def f(): return b - a"),
        ("def f():\n    x = 1\n    return x", "def f():\n    x = 1"),
        ("def f():\n    x = 1\n    return x", "def f(:"),
        ("def f():\n    x = 1\n    class A: x = 2", "def f():\n    y = 1\n    class A: y = 2"),
    ],
)
def test_any_other_change_is_not(one, other):
    assert not alpha_equivalent(one, other)
    assert not alpha_equivalent(other, one)


@pytest.mark.parametrize("hash_seed", [0, 17, 36, 38, 39])
def test_the_order_of_a_set_does_not_decide(hash_seed):
    """With all seeds but the first, Python 3.11 gives one set of constants another order when it compiles again."""
    code = (
        "import sys\nfrom clmeeval_data.paraphrase.equivalence import alpha_equivalent\n"
        "print(alpha_equivalent(sys.argv[1], sys.argv[2]), alpha_equivalent(sys.argv[1], sys.argv[3]))"
    )
    first = "def f(a):\n    x = a\n    return x in {'426', '225', '226'}"
    done = subprocess.run(
        [sys.executable, "-c", code, first, first.replace("x", "y"), first.replace("225", "227")],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True False\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a): return a", "def f(b): return b"),
        ("def f(a: int, *, b='a') -> str: return a, b", "def f(x: int, *, y='a') -> str: return x, y"),
        ("def f(a):\n    return lambda: [a for b in a]", "def f(x):\n    return lambda: [x for y in x]"),
    ],
)
def test_parameters_may_be_renamed_where_that_is_said(one, other):
    assert alpha_equivalent(one, other, parameters=True)
    assert not alpha_equivalent(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a, b): return a - b", "def f(b, a): return a - b"),
        ("def f(a: a): return a", "def f(b: b): return b"),
        ("def f(a: int, b='a'): return a", "def f(x: int, b='x'): return x"),
        ("def f(a): return g(a=a)", "def f(b): return g(b=b)"),
        ("def f(a): return f'{a=}'", "def f(b): return f'{b=}'"),
        ("def f(a, b): return a", "def f(a, *b): return a"),
    ],
)
def test_renamed_parameters_have_to_fit(one, other):
    assert not alpha_equivalent(one, other, parameters=True)

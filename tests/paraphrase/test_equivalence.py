"""Alpha-equivalence: what counts as the same function."""

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

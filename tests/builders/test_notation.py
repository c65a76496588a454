"""Python 2 notation and lost margins, written as Python 3."""

import ast

import pytest

from clmeeval_data.builders.notation import in_python_3


@pytest.mark.parametrize(
    ("snippet", "expected"),
    [
        ("print x", "print(x)"),
        ("print 'a %s' % b, c", "print('a %s' % b, c)"),
        ('print"a"', 'print("a")'),
        ("for a in b:\n    print a,", "for a in b:\n    print(a, end=' ')"),
        ("if x: print y;", "if x: print(y)"),
        ("print\nprint a", "print()\nprint(a)"),
        ("try:\n    f()\nexcept (A, B), e:\n    print e", "try:\n    f()\nexcept (A, B) as e:\n    print(e)"),
        ("    a = 1\n    b = 2", "a = 1\nb = 2"),
        ("a = 1\n    b = 2\n    if b:\n        c = 3", "a = 1\nb = 2\nif b:\n    c = 3"),
        ("a = 1\n    print a", "a = 1\nprint(a)"),
    ],
)
def test_python_2_becomes_python_3(snippet, expected):
    assert in_python_3(snippet) == expected
    ast.parse(expected)


@pytest.mark.parametrize(
    "snippet",
    [
        "print(x)",
        "print (x)",
        "fingerprint = 1",
        "x = 'print y'",
        "if a:\n  print(b)",
        "print >>f, x",
        "print 'a' 'b",
        "sudo make install",
        "exec 'a'",
        "",
    ],
)
def test_the_rest_is_left_as_it_is(snippet):
    assert in_python_3(snippet) == snippet

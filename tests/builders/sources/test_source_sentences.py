"""From docstrings as they are found to one sentence, and from sessions to code."""

import pytest

from clmeeval_data.builders.sources.docstring import first_sentence
from clmeeval_data.builders.sources.functions import function_name, undocumented
from clmeeval_data.builders.sources.python_docs import detokenised
from clmeeval_data.builders.sources.sessions import typed


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        # headings, fields and examples end the paragraph, also without an empty line
        ("Remove the file\nReturn:\n  bool: true", "Remove the file."),
        ("Make it\n    Args:\n      x (int): it", "Make it."),
        ("Make it\nParameters\n----------\nx : int", "Make it."),
        ("Make it\nreturns: nothing", "Make it."),
        ("Make it\nArgs: x", "Make it."),
        ("Make it\n@param x: it", "Make it."),
        ("Make it\n1) first\n2) second", "Make it."),
        ("Return :class:`Thing`s", "Return Things."),
        # where there is nothing else, there is no sentence
        (">>> f(1)\n2", ""),
        (":param x: it\n:return: that", ""),
        ("@type x: int", ""),
        ("Args:\n  x: it", ""),
        ("Returns:\n\n  a list", ""),
        ("", ""),
        ("r'''", ""),
        # what stands in front of the sentence
        ('r"""\n    Convert it.\n    """', "Convert it."),
        ("'''Beat tracking.'''", "Beat tracking."),
        ("@summary: override it\n@param x: it", "override it."),
        ("!\n@brief Executes it.\n@param[in] x", "Executes it."),
        ("\\brief Executes it.", "Executes it."),
        ("(Point, Point) -> Point\nReturn the middle.", "Return the middle."),
        ("str->list\nConvert it to a list.\nFrom Biligrab.", "Convert it to a list."),
        ("=====\nDemo of it\n=====\nMore.", "Demo of it."),
        ("Handle -> it.", "Handle -> it."),
        ("Find pairs such that A -> B.\nMore.", "Find pairs such that A -> B."),
        # lines that are sentences without a full stop
        ("Use the resolution\nAllow another one", "Use the resolution."),
        ("Return the list of\nPython objects", "Return the list of Python objects."),
        ("Check whether the given object collides with any of the objects of the manager\nReturns the first one",
         "Check whether the given object collides with any of the objects of the manager."),
        ("Check whether the object that is given collides with an object of the\nManager",
         "Check whether the object that is given collides with an object of the Manager."),
        ("Compute the mapping, using \\\n  the pixels.", "Compute the mapping, using the pixels."),
        # markup
        ("Return C{True} or L{x}.", "Return True or x."),
        # ends of sentences
        ("Return it, etc. and more. Stop.", "Return it, etc. and more."),
        ("Return it (e.g. this.) Then stop.", "Return it (e.g. this.)."),
        ("Return x (see eq. 3 resp. 4). Stop.", "Return x (see eq."),
        ("A b.c. d", "A b.c."),
        ("Convert a list to a set::\n\n  >>> x", "Convert a list to a set::"),
        ("Windows\r\nline ends.\r\n\r\nMore.", "Windows line ends."),
    ],
)  # fmt: skip
def test_the_first_sentence(docstring, sentence):
    assert first_sentence(docstring) == sentence


@pytest.mark.parametrize(
    ("docstring", "name", "sentence"),
    [
        ("copyModel - Copy this model.", "Model.copyModel", "Copy this model."),
        ("f(x, y): Add them.", "f", "Add them."),
        ("Model.f -- Add them.", "Model.f", "Add them."),
        ("f the thing", "f", "f the thing."),
        ("MAD -- Median.", "mad", "MAD -- Median."),
        ("x - y is it.", "f", "x - y is it."),
    ],
)
def test_a_title_is_no_sentence(docstring, name, sentence):
    assert first_sentence(docstring, name) == sentence


@pytest.mark.parametrize(
    "text", ["a" * 10**6, " " * 10**6 + "x", "( " * 10**6, "a b " * 10**6, "a.\n" * 10**6, "'" * 10**6]
)
def test_a_docstring_of_a_megabyte_comes_to_an_end(text):
    """Quadratic work on it would meet pytest's time limit."""
    first_sentence(text, "name")
    detokenised(text[:5000])


def test_a_function_of_strings_ends():
    code = "def f():\n" + '    """x"""\n' * 2000
    assert undocumented(code).startswith("def f():")


def test_code_spans_can_stay():
    assert first_sentence("Return ``x`` of `y`. More.", keep_code=True) == "Return ``x`` of `y`."


@pytest.mark.parametrize(
    ("snippet", "expected"),
    [
        ("x = 1\ny = 2", "x = 1\ny = 2"),
        (">>> x = 1\n>>> x\n1", "x = 1\nx"),
        ("  >>> for x in y:\n  ...     print(x)\n  ...\n  1\n  >>> x", "for x in y:\n    print(x)\n\nx"),
        ("In [1]: x = 1\n\nIn [2]: x\nOut[2]: 1", "x = 1\nx"),
        ("In [1]: for x in y:\n   ...:     print(x)", "for x in y:\n    print(x)"),
        ("x >>> y", "x >>> y"),
        ("x = 1\n>>> y", "x = 1\n>>> y"),
        ("...\n{% url %}", "...\n{% url %}"),
        ("", ""),
        (">>>", ""),
    ],
)
def test_sessions_become_code(snippet, expected):
    assert typed(snippet) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('def f():\n    """Doc."""\n\n    return 1\n', "def f():\n    return 1"),
        ('def f():\n    "Doc."', "def f():\n    pass"),
        ('def f():\n    """Doc."""\n    # why\n    """x = 1"""\n    return 1', "def f():\n    # why\n    return 1"),
        ("def f():\n\n    return 1", "def f():\n\n    return 1"),
        ('def f():\n    u"""Doc."""\n    print "x"', 'def f():\n    print "x"'),
    ],
)
def test_functions_lose_their_docstrings(code, expected):
    assert undocumented(code) == expected


def test_the_name_of_a_function():
    assert function_name("@d\ndef f(x): pass\ndef g(): pass") == "f"
    assert function_name("x = 1") == ""

"""From a docstring to one sentence."""

import pytest

from clmeeval_data.builders.sources.docstring import first_sentence


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return the thing.", "Return the thing."),
        ("Return the thing", "Return the thing."),
        ("Return the\n   thing.  Then stop.", "Return the thing."),
        ("Return the thing\n\nMore.", "Return the thing."),
        ("Return x, e.g. the first. Then more.", "Return x, e.g. the first."),
        ("Return a list, i.e. not a tuple. More", "Return a list, i.e. not a tuple."),
        ("Is it open? More.", "Is it open?"),
        ("Return :class:`~pkg.Thing` or ``None``.", "Return pkg.Thing or None."),
        ("Call :func:`f <pkg.f>` with `x`.", "Call f with x."),
        ("See `the docs <https://example.org>`_ for more.", "See the docs for more."),
        ("Write *value* to **file**.", "Write value to file."),
        ("Return a * b * c.", "Return a * b * c."),
        ("Do this:\n\n  >>> f()", "Do this:"),
        ("Do this.\n>>> f()", "Do this."),
        ("Do this.\n:param x: the x", "Do this."),
        ("Do this\n- first\n- second", "Do this."),
        ("Return the name...", "Return the name."),
        ("Return f(x) (see above)", "Return f(x) (see above)."),
        ("Use Python 3.11 or later. Or not.", "Use Python 3.11 or later."),
        ("Add a spec to a mock. spec can be a list.", "Add a spec to a mock."),
        ('Return "it"', 'Return "it".'),
    ],
)
def test_first_sentence(docstring, sentence):
    assert first_sentence(docstring) == sentence

"""Checks: what a rephrasing must keep to, each with its reason; and that sound ones pass."""

import pytest

from clmeeval_data.paraphrase.checks import Bounds, another_language, refusal, truncated
from clmeeval_data.paraphrase.residue import residue
from clmeeval_data.paraphrase.signatures import signature_difference

CODE = Bounds(code=True, most_similar=100.0, shortest=0.5, longest=2.0)
TEXT = Bounds(code=False, most_similar=90.0, shortest=0.4, longest=2.5)
LEFT_OUT = "leaves out a name or literal of the answer"
OPEN = "breaks off in a bracket or quote"


@pytest.mark.parametrize(
    ("prompt", "rephrased", "target", "bounds", "reason"),
    [
        ("sort list `a`", "How is `a` put in order?", "a.sort()", TEXT, None),
        ("sort list `a`", " \n", "a.sort()", TEXT, "empty"),
        ("sort list `a`", "put `a` in\0 order", "a.sort()", TEXT, "holds a null byte"),
        ("sort list `a`", "Sort  list `a`?", "a.sort()", TEXT, "the same text"),
        ("sort list `a`", "call a.sort() now", "a.sort()", TEXT, "contains the target"),
        ("sort the list `a` in place", "sort the list `a` in places", "x", TEXT, "too close"),
        ("sort list `a`", "put `a` in order " * 9, "x()", TEXT, "too short or too long"),
        ("sort the list named `a`, please", "sort a", "x()", TEXT, "too short or too long"),
        ("put 5 of `a` in 'b'", "how to put 5 of `a` in 'b'?", "b = a[:5]", TEXT, None),
        ("put 5 of `a` in 'b'", "how to put some of `a` in 'b'?", "b = a[:5]", TEXT, LEFT_OUT),
        ("put 5 of `a` in 'b'", "how to put 5 of it in 'b'?", "b = a[:5]", TEXT, LEFT_OUT),
        ("put 5 of `a` in 'b'", "how to put 5 of `a` in it?", "b = a[:5]", TEXT, LEFT_OUT),
        ("put 5 of `a` in 'b'", "how to put some of it in it?", "c = d[:55]", TEXT, None),
        ("turn integer `n` into text", "turning an int into a text", "str(n)", TEXT, LEFT_OUT),
        ("def f(): return 1", "def f(: return 1", "One.", CODE, "does not parse"),
        ("def f():\n    x = 1", "def f():\n    y = 1", "One.", CODE, None),
        ("def f():\n    x = 1", "def g():\n    x = 1", "One.", CODE, "another function name"),
        ("sort list `a`", "Sure, put `a` in order", "a.sort()", TEXT, "chat residue"),
        ("sort list `a`", "put `a in order", "x()", TEXT, OPEN),
        ("sort the list `a`", "ordenar la lista `a` por una clave", "x()", TEXT, "not English: its words"),
        ("sort the list `a`", "sortiere die Liste `a` und zwar mit Python", "x()", TEXT, "not English: its words"),
        ("sort the list `a`", "упорядочить список `a`", "x()", TEXT, "another language: its letters"),
        (
            "def f():\n    x = 1",
            "def f():\n    # 等于一 等于一\n    y = 1",
            "One.",
            CODE,
            "another language: its letters",
        ),
    ],
)
def test_refusals_have_reasons(prompt, rephrased, target, bounds, reason):
    assert refusal(prompt, rephrased, target, bounds) == reason


INTENT = "sort the list `rows` by its second item"


@pytest.mark.parametrize(
    "said",
    [
        "Sure, here is another way: order `rows`",
        "Certainly! Order `rows` by item two",
        "Here is the rewritten intent: order `rows`",
        "Here's a rephrased version of it. Order `rows`",
        "Here is your function: order `rows`",
        "Rephrased: order `rows`",
        "**Rewritten request:** order `rows`",
        "Output: order `rows`",
        "As an AI language model, I would order `rows`",
        "I'm sorry, but that is not possible",
        "I cannot help with `rows`",
        "Order `rows`. Let me know if you need more",
        "order `rows`<|im_end|>",
        "</think> order `rows`",
    ],
)
def test_what_a_chat_model_says_around_a_wording_is_refused(said):
    assert residue(INTENT, said) == "chat residue"
    assert residue(said, said) is None  # the prompt's own


@pytest.mark.parametrize(
    "sound",
    [
        "I am not able to append to a list in a recursive function",
        "How do I make sure, in Django, that a field is unique?",
        "Output the items of `rows` one per line",
        "How to write a function that answers HTTP requests?",
        "What is here is a list; sort it",
        "Create a new version of the file `a.txt`",
        "How can I print ```` in Markdown?",
    ],
)
def test_ordinary_requests_are_no_residue(sound):
    assert residue(INTENT, sound) is None


@pytest.mark.parametrize(
    ("prompt", "rephrased", "reason"),
    [
        ("sort `a`", "```python\nsort `a`\n```", "in a code fence"),
        ("```\nx\n```", "```\ny\n```", None),
        ("sort `a`", '"put `a` in order"', "in quotes"),
        ("sort `a`", " “put `a` in order” ", "in quotes"),
        ("sort `a`", "`a`, put in order as `b`", None),
        ('"x" in "y"', '"y" with "x"', None),
        ("'sort a'", "'order a'", None),
    ],
)
def test_fences_and_quotes_around_a_wording_are_refused(prompt, rephrased, reason):
    assert residue(prompt, rephrased) == reason


@pytest.mark.parametrize(
    ("prompt", "rephrased", "reason"),
    [
        ("sort rows (by key)", "order rows (by key", OPEN),
        ("sort rows[0]", "order rows[0", OPEN),
        ("sort rows", "order {rows", OPEN),
        ("sort `rows`", "order `rows", OPEN),
        ('split at "x"', 'split at "x', OPEN),
        ("split at (", "how to split at (", None),
        ("sort rows", "order the rows, by", None),
        ("sort rows", "order rows,", "breaks off"),
        ("sort rows", "order rows of the", "breaks off"),
        ("sort rows", "turn rows into a.", "breaks off"),
        ("rename column to a", "give the column the name a", None),
        ("sort rows", "the students' rows, in order, don't copy", None),
    ],
)
def test_a_wording_that_breaks_off_is_refused(prompt, rephrased, reason):
    assert truncated(prompt, rephrased) == reason


@pytest.mark.parametrize(
    ("prompt", "rephrased", "is_refused"),
    [
        ("replace `é` in naïve text", "in a naïve text, replace `é`", False),
        ("sort rows", "rows, sorted – en ordre croissant", False),  # what a light check can't see
        ("sort rows", "対象の行を並べ替える", True),
        ("1 + 1", "2", False),
    ],
)
def test_another_script_is_refused(prompt, rephrased, is_refused):
    assert (another_language(prompt, rephrased) is not None) == is_refused


DEF = "def f(a, b=1, *args, c, d=2, **kwargs):\n    return a"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (DEF, DEF.replace("return a", "return b"), None),
        (DEF, "def f(x, y=1, *rest, c, d=2, **more):\n    return x", None),
        (DEF, DEF.replace("def f", "def g"), "another function name"),
        (DEF, DEF.replace("b=1", "b"), "other parameters"),
        (DEF, DEF.replace("c, d=2", "d=2"), "other parameters"),
        (DEF, DEF.replace("c, d=2", "c=2, d"), "other parameters"),
        (DEF, DEF.replace(", **kwargs", ""), "other parameters"),
        (DEF, DEF.replace("a, b", "a, /, b"), "other parameters"),
        (DEF, DEF.replace("def f", "async def f"), "other parameters"),
        (DEF, f"{DEF}\n\nf(1, c=2)", "not one function any more"),
        (DEF, f"import os\n{DEF}", "not one function any more"),
        (DEF, "f = lambda a: a", "not one function any more"),
        (DEF, "def f(a:", "not one function any more"),
        ("def f(a):\n    print a", "def g():\n    print b", None),  # Python 2: nothing to tell
    ],
)
def test_a_function_keeps_its_signature(before, after, reason):
    assert signature_difference(before, after) == reason

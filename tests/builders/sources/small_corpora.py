"""Rows of small corpora in their original forms, and what a source reads from them."""

import pickle

from clmeeval_data.builders.sources import Pair, SourceOptions, open_source, read
from clmeeval_data.records import Provenance

SO = "CC-BY-SA-3.0"

MINED = [
    {
        "parent_answer_post_id": 34705233,
        "prob": 0.869,
        "snippet": "sorted(l, key=lambda x: (-int(x[1]), x[0]))",
        "intent": "Sort a nested list by two elements",
        "id": "34705205_34705233_0",
        "question_id": 34705205,
    },
    {
        "parent_answer_post_id": 13905946,
        "prob": 0.8526,
        "snippet": ">>> l = [1, 2]\n>>> [int(x) for x in str(num)]\n[1, 2]",
        "intent": " converting integer to list in python",
        "id": "13905936_13905946_0",
        "question_id": 13905936,
    },
    {
        "parent_answer_post_id": None,
        "prob": 0.05,
        "snippet": "a",
        "intent": "an unlikely pair",
        "id": "1_2_0",
        "question_id": 1,
    },
    {
        "parent_answer_post_id": None,
        "prob": 0.5,
        "snippet": "b = 1",
        "intent": "a pair without answer id",
        "id": "2_2_0",
        "question_id": 2,
    },
]
CURATED = [
    {
        "intent": "How to convert a list of multiple integers into a single integer?",
        "rewritten_intent": "Concatenate elements of a list 'x' of multiple integers to a single integer",
        "snippet": "sum(d * 10 ** i for i, d in enumerate(x[::-1]))",
        "question_id": 41067960,
    },
    {
        "intent": "how to convert a datetime string back to datetime object?",
        "rewritten_intent": None,
        "snippet": "datetime.strptime('2010-11-13 10:33:54', '%Y-%m-%d')",
        "question_id": 5868374,
    },
    {
        "intent": 'Averaging the <a href="http://example.org/a_b" rel="nofollow">values</a> in a dictionary',
        "rewritten_intent": "get the average of the values of dictionary `d`",
        "snippet": "sum(d.values()) / len(d)",
        "question_id": 4254081,
    },
]
OVERFLOW = [
    {"idx": 0, "title": "Treat an  integer as bytes in Python?", "snippet": "a = status & 0xff\nb = 1", "n_lines": 2},
    {"idx": 1, "title": "Reverse a list", "snippet": ">>> print l[::-1]\n[3, 2, 1]", "n_lines": 2},
    {"idx": 2, "title": "reverse a list.", "snippet": "l.reverse()", "n_lines": 1},
]
DOCS = [
    {"snippet": "abc.ABC", "intent": "A helper class that has ABCMeta as its metaclass.", "question_id": 0},
    {
        "snippet": "bisect.bisect_left(a, x,  hi=len(a))",
        "intent": "Locate the insertion point for `x` in `a` to maintain sorted order . The parameters `lo` and `hi` "
        "may be used to specify a subset of the list ( see below ) .",
        "question_id": 854,
    },
    {
        "snippet": "os.system(command)",
        "intent": "Execute the `command` ( a string ) in the child ’ s “ shell ” , as system ( ) does . With arguments "
        "`x`.",
        "question_id": 7068,
    },
]
FUNCTIONS = [
    {
        "repo": "owner/First",
        "path": "a.py",
        "func_name": "Box.area",
        "original_string": "...",
        "language": "python",
        "code": 'def area(self):\n        """\n        The area: C{width} times height."""\n\n        return 4',
        "code_tokens": ["def"],
        "docstring": "The area: C{width} times height.",
        "docstring_tokens": ["The"],
        "url": "https://github.com/owner/First/blob/c0ffee/a.py#L1-L5",
        "partition": "test",
    },
    {
        "repo": "owner/second",
        "path": "b/c.py",
        "func_name": "scale",
        "code": 'def scale(x):\n    """Scale x.\n\n    >>> scale(1)\n    2\n    """\n    return 2 * x  # twice',
        "docstring": "Scale x.\n\n    >>> scale(1)\n    2",
        "url": "",
    },
    {"repo": "owner/third", "func_name": "f", "code": "def f(): return 1", "docstring": ":return: one", "url": "u"},
]
CASES = [
    {
        "case_id": 0,
        "edit_request": {"intent": "sort `l`", "rewritten_intent": "put `l` in order", "snippet": "sorted(l)"},
        "neighborhoods": {
            "items": [{"intent": "shuffle `l`"}, {"intent": "sort `l` in place"}],
            "answers": {"CodeLlama-7b-hf": ["random.shuffle(l)", "l.sort()"]},
        },
    },
    {
        "case_id": 1,
        "edit_request": {"intent": "sort `l` in place", "rewritten_intent": "order `l` itself", "snippet": "l.sort()"},
        "neighborhoods": {"items": [{"intent": "sort `l`"}], "answers": {}},
    },
]


def pair(prompt, target, provenance, name="", rephrasing=None):
    return Pair(prompt, target, name, rephrasing, Provenance(*provenance))


def readings(name, benchmark, location, **options):
    source = open_source(f"{name}={location}", benchmark, SourceOptions(**options))
    found = list(read(source))
    # The second step may run elsewhere: it needs nothing but the row.
    elsewhere = pickle.loads(pickle.dumps(source))
    assert [each for row in source.rows() for each in elsewhere.pairs(pickle.loads(pickle.dumps(row)))] == found
    return found

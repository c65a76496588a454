"""Every source on a small file of its original form: how many pairs, and the first, a middle and the last one."""

import gzip
import json
import pickle

import pytest

from clmeeval_data import syntax
from clmeeval_data.builders.sources import SOURCES, Pair, Skipped, SourceOptions, Unreadable, open_source, read
from clmeeval_data.builders.sources.codesearchnet import repository_licences
from clmeeval_data.builders.sources.released import records
from clmeeval_data.builders.sources.stackoverflow import question_groups
from clmeeval_data.errors import ConfigError, SourceError
from clmeeval_data.records import BENCHMARKS, CNLE, CSNE, Provenance, Rephrasing

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
COSQA = [
    {
        "idx": 7,
        "func_name": "writeBoolean",
        "code": 'def writeBoolean(n):\n    """Writes."""\n    pass',
        "docstring": "Writes.",
    },
    {"idx": 8, "func_name": "paste", "code": 'def paste():\n    """Return the clipboard."""', "docstring": None},
    {"idx": 9, "func_name": "write_boolean", "code": "def write_boolean(): pass", "docstring": "Write it."},
]
LICENCES = [
    {"repo": "owner/first", "license_guess": "MIT"},
    {"repo": "owner/second", "license_guess": "GPL"},
    {"repo": "owner/third", "license_guess": None},
]
OWN = [
    {"q": "reverse `l`", "a": "l[::-1]", "kind": "lists", "spdx": "MIT", "again": "turn `l` around"},
    {"q": "sort `l`", "a": "sorted(l)", "kind": None, "spdx": "", "again": None},
    {"q": "SORT  `l`", "a": "l.sort()"},
]
OWN_COLUMNS = {"prompt": "q", "target": "a", "group": "kind", "licence": "spdx", "rephrasing": "again"}
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
FUNCTION_CASES = [
    {
        "case_id": 5,
        "edit_request": {
            "code": "def f(x):\n    return x",
            "code_rewrite": "def f(y):\n    return y",
            "code_doc": "Give x back.",
        },
        "neighborhoods": {"items": [{"code": "def g(x):\n    return -x"}], "answers": {"m": ["Negate x."]}},
    }
]


def pair(prompt, target, provenance, name="", rephrasing=None):
    return Pair(prompt, target, name, rephrasing, Provenance(*provenance))


MINED_PAIRS = [
    Skipped("the probability is below the threshold", "an unlikely pair"),
    pair(
        "Sort a nested list by two elements",
        "sorted(l, key=lambda x: (-int(x[1]), x[0]))",
        ("conala-mined", "https://stackoverflow.com/a/34705233", "so-34705205", SO),
    ),
    pair(
        "converting integer to list in python",
        "l = [1, 2]\n[int(x) for x in str(num)]",
        ("conala-mined", "https://stackoverflow.com/a/13905946", "so-13905936", SO),
    ),
    pair(
        "a pair without answer id",
        "b = 1",
        ("conala-mined", "https://stackoverflow.com/questions/2", "so-2", SO),
    ),
]
CURATED_PAIRS = [
    pair(
        "Concatenate elements of a list 'x' of multiple integers to a single integer",
        "sum(d * 10 ** i for i, d in enumerate(x[::-1]))",
        ("conala-curated", "https://stackoverflow.com/questions/41067960", "so-41067960", SO),
        rephrasing="How to convert a list of multiple integers into a single integer?",
    ),
    pair(
        "how to convert a datetime string back to datetime object?",
        "datetime.strptime('2010-11-13 10:33:54', '%Y-%m-%d')",
        ("conala-curated", "https://stackoverflow.com/questions/5868374", "so-5868374", SO),
    ),
    pair(
        "get the average of the values of dictionary `d`",
        "sum(d.values()) / len(d)",
        ("conala-curated", "https://stackoverflow.com/questions/4254081", "so-4254081", SO),
        rephrasing="Averaging the values in a dictionary",
    ),
]


def readings(name, benchmark, location, **options):
    source = open_source(f"{name}={location}", benchmark, SourceOptions(**options))
    found = list(read(source))
    # The second step may run elsewhere: it needs nothing but the row.
    elsewhere = pickle.loads(pickle.dumps(source))
    assert [each for row in source.rows() for each in elsewhere.pairs(pickle.loads(pickle.dumps(row)))] == found
    return found


def in_order(found):
    """Skipped rows first: they stand for no pair."""
    return sorted(found, key=lambda each: isinstance(each, Pair))


@pytest.mark.parametrize(
    "name",
    [
        "conala-mined.jsonl",
        "conala-mined.jsonl.gz",
        "conala-mined.json",
        "mined/train-00000-of-00001.parquet",
        "all.zip",
    ],
)
def test_conala_mined(tmp_path, write, pack, name):
    if name == "all.zip":  # the original archive
        members = {
            "conala-corpus/conala-mined.jsonl": write(tmp_path / "x.jsonl", MINED).read_bytes(),
            "conala-corpus/conala-train.json": json.dumps(CURATED).encode(),
            "conala-corpus/conala-test.json": b"[]",
        }
        pack(tmp_path / "corpus" / name, members)
    else:
        write(tmp_path / "corpus" / name, MINED)
    location = tmp_path / "corpus" / name if name == "all.zip" else tmp_path / "corpus"
    assert in_order(readings("conala-mined", "cnle", location, prob=0.1)) == MINED_PAIRS
    assert len([each for each in readings("conala-mined", "cnle", location) if isinstance(each, Pair)]) == 4


@pytest.mark.parametrize("form", ["original", "jsonl.gz", "hub", "parquet"])
def test_conala_curated(tmp_path, write, pack, form):
    folder, (train, test) = tmp_path / "corpus", (CURATED[1:], CURATED[:1])
    folder.mkdir()
    if form == "original":
        members = {
            "conala-corpus/conala-mined.jsonl": write(tmp_path / "x.jsonl", MINED).read_bytes(),
            "conala-corpus/conala-train.json": json.dumps(train, indent=2).encode(),
            "conala-corpus/conala-test.json": json.dumps(test, indent=2).encode(),
        }
        folder = pack(folder / "conala-corpus-v1.1.zip", members)
    elif form == "jsonl.gz":
        write(folder / "conala_curated_train.jsonl.gz", train)
        write(folder / "conala_curated_test.jsonl.gz", test)
    elif form == "hub":
        write(folder / "data" / "conala-paired-train.json", train)
        write(folder / "data" / "conala-paired-test.json", test)
        write(folder / "data" / "conala-mined.json", MINED)
    else:
        write(folder / "curated" / "train" / "0000.parquet", train)
        write(folder / "curated" / "test" / "0000.parquet", test)
        write(folder / "mined" / "train" / "0000.parquet", MINED)
    assert readings("conala-curated", "cnle", folder) == CURATED_PAIRS


@pytest.mark.parametrize("name", ["stackoverflow_2015.jsonl.gz", "stackoverflow.parquet"])
def test_stackoverflow(tmp_path, write, name):
    write(tmp_path / name, OVERFLOW)
    first, second, third = readings("stackoverflow", "cnle", tmp_path)
    provenance = first.provenance
    assert first == Pair("Treat an integer as bytes in Python?", "a = status & 0xff\nb = 1", "", None, provenance)
    assert (provenance.source, provenance.origin, provenance.licence) == ("stackoverflow", "stackoverflow#0", SO)
    assert (second.prompt, second.target) == ("Reverse a list", "print(l[::-1])")  # what was typed, in Python 3
    assert second.provenance.group == third.provenance.group != provenance.group
    assert provenance.group.startswith("so-title-")


def test_a_question_in_two_sources_can_be_one_group(tmp_path, write):
    write(
        tmp_path / "stackoverflow.jsonl", [{"idx": 3, "title": "averaging the values in a dictionary?", "snippet": "a"}]
    )
    write(tmp_path / "conala-train.json", CURATED)
    (titled,) = readings("stackoverflow", "cnle", tmp_path)
    groups = question_groups([titled, *readings("conala-curated", "cnle", tmp_path)])
    assert groups[titled.provenance.group] == "so-4254081"
    assert sorted(groups.values()) == ["so-41067960", "so-4254081", "so-5868374"]


@pytest.mark.parametrize("name", ["python-docs.jsonl", "python_docs_api_pairs.jsonl.gz"])
def test_python_docs(tmp_path, write, name):
    write(tmp_path / name, DOCS)

    def docs(prompt, target, number, group):
        return pair(prompt, target, ("python-docs", f"python-docs#{number}", f"python-docs-{group}", "Apache-2.0"))

    assert readings("python-docs", "cnle", tmp_path) == [
        docs("A helper class that has ABCMeta as its metaclass, from `abc`.", "abc.ABC", 0, "abc.ABC"),
        docs(
            "Locate the insertion point for `x` in `a` to maintain sorted order, using `bisect`, with the argument "
            "`hi=len(a)`.",
            "bisect.bisect_left(a, x, hi=len(a))",
            854,
            "bisect.bisect_left",
        ),
        docs(
            """Execute the `command` (a string) in the child's "shell", as system() does, using `os`.""",
            "os.system(command)",
            7068,
            "os.system",
        ),
    ]


@pytest.mark.parametrize(
    ("intent", "snippet", "prompt"),
    [
        (
            "Return `a` new ( empty ) `list` [ 0 , 1 ] , e.g . by copy ( ) . More .",
            "m.f(list)",
            "Return a new (empty) `list` [0, 1], e.g. by copy(), using `m`.",
        ),
        ("Test `a` < = `b` ; 5 % of the line ( s ) .", "t.le(a, b)", "Test `a` <= `b`; 5% of the line(s), using `t`."),
        ("Give the users ’ names , as `` xml '' .", "t.names", """Give the users' names, as "xml", from `t`."""),
        ("Write `data` to `file` .", "Stream.write(data)", "Write `data` to file, using `Stream`."),
        ("Open the file ( as used in e.g .", "os.open(path, *args, mode=0o777, **kw)",
         "Open the file, using `os`, with the arguments `path`, `*args`, `mode=511` and `**kw`."),
        ("Close the Queue .", "Queue.close()", "Close the Queue."),
        ("Windows only: Beep .", "winsound.Beep", "Beep, from `winsound`."),
        ("Turn it .", f"f({'-' * 3000}1)", "Turn it."),
        ("Add it . With arguments `name or flags...`.", "p.add(name or flags...)", "Add it, using `p`."),
    ],
)  # fmt: skip
def test_the_documentation_becomes_english_that_names_what_the_call_needs(tmp_path, write, intent, snippet, prompt):
    write(tmp_path / "python-docs.jsonl", [{"intent": intent, "snippet": snippet, "question_id": 1}])
    (found,) = readings("python-docs", "cnle", tmp_path)
    assert (found.prompt, found.target) == (prompt, snippet)


@pytest.mark.parametrize(
    "intent",
    [
        "These are the possible values for idtype in waitid ( ) .",
        "Like read ( ) .",
        "All arguments are optional .",
        "`flag` is a flag .",
        "With arguments `x`.",
        "If `flag` is true , then so be it .",
        "This function is deprecated .",
        "Is `flag` set ?",
    ],
)
def test_documentation_that_does_not_say_what_a_call_does_is_skipped(tmp_path, write, intent):
    write(tmp_path / "python-docs.jsonl", [{"intent": intent, "snippet": "a.b(flag)", "question_id": 1}])
    (found,) = readings("python-docs", "cnle", tmp_path)
    assert found == Skipped("the sentence does not say what the call does", intent)


def test_calls_of_special_methods_in_the_documentation_are_skipped(tmp_path, write):
    rows = [{"intent": "Return the sum of both .", "snippet": f"a.{name}", "question_id": 1} for name in NAMES]
    write(tmp_path / "python-docs.jsonl", rows)
    found = readings("python-docs", "cnle", tmp_path)
    assert found[0] == Skipped("a special method, which no code calls by its name", "a.__add__(b)")
    assert [each.target for each in found[1:]] == ["a.add(b)", "a.__name__"]


NAMES = ("__add__(b)", "add(b)", "__name__")
HUB_NAMES = {
    "repo": "repository_name",
    "path": "func_path_in_repository",
    "code": "whole_func_string",
    "docstring": "func_documentation_string",
    "url": "func_code_url",
}


@pytest.mark.parametrize("form", ["hub", "original", "archive"])
def test_codesearchnet(tmp_path, write, pack, form):
    location = tmp_path / "corpus"
    if form == "hub":
        rows = [{HUB_NAMES.get(name, name): value for name, value in row.items()} for row in FUNCTIONS]
        write(location / "python" / "test-00000-of-00001.parquet", rows)
        write(location / "java" / "test-00000-of-00001.parquet", rows)
    elif form == "original":
        write(location / "test" / "python_test_0.jsonl.gz", FUNCTIONS)
        write(location / "test" / "java_test_0.jsonl.gz", FUNCTIONS)
    else:
        content = write(tmp_path / "x.jsonl.gz", FUNCTIONS).read_bytes()
        members = {
            "python/final/jsonl/test/python_test_0.jsonl.gz": content,
            "python_dedupe_definitions_v2.pkl": b"\x80",
        }
        location = pack(tmp_path / "python.zip", members)
    licences = tmp_path / "licences.json"
    licences.write_text(json.dumps(LICENCES))
    assert readings("codesearchnet", "csne", location, repository_licences=licences) == [
        pair(
            "def area(self):\n        return 4",
            "The area: width times height.",
            ("codesearchnet", FUNCTIONS[0]["url"], "owner/First", "MIT"),
            "Box.area",
        ),
        pair(
            "def scale(x):\n    return 2 * x  # twice",
            "Scale x.",
            ("codesearchnet", "owner/second/b/c.py", "owner/second", "LicenseRef-GPL"),
            "scale",
        ),
        Skipped("no sentence in the docstring", "f: :return: one"),
    ]
    first = readings("codesearchnet", "csne", location)[0]
    assert first.provenance.licence == "LicenseRef-unknown"


def test_the_cosqa_subset_of_codesearchnet(tmp_path, write):
    write(tmp_path / "codesearchnet_python_cosqa_subset.jsonl.gz", COSQA)
    assert readings("codesearchnet", "csne", tmp_path) == [
        pair(
            "def writeBoolean(n):\n    pass",
            "Writes.",
            ("codesearchnet", "cosqa#7", "cosqa-writeboolean", "LicenseRef-C-UDA"),
            "writeBoolean",
        ),
        Skipped("no sentence in the docstring", "paste: None"),
        pair(
            "def write_boolean(): pass",
            "Write it.",
            ("codesearchnet", "cosqa#9", "cosqa-writeboolean", "LicenseRef-C-UDA"),
            "write_boolean",
        ),
    ]


def test_guessed_licences_become_identifiers(tmp_path):
    guesses = ["MIT", "BSD", "LGPL", "GPL-3.0-only", "CC-BY-4.0", "none of them", None, 7]
    path = tmp_path / "licences.json"
    path.write_text(json.dumps([{"repo": f"O/{place}", "license_guess": guess} for place, guess in enumerate(guesses)]))
    assert list(repository_licences(path).values()) == [
        "MIT", "BSD-3-Clause", "LicenseRef-LGPL", "GPL-3.0-only", "CC-BY-4.0", *["LicenseRef-unknown"] * 3
    ]  # fmt: skip
    assert next(iter(repository_licences(path))) == "o/0"
    for text in ("", "{", '{"repo": 1}', "[1]", '[{"licence": "MIT"}]', "7"):
        path.write_text(text)
        with pytest.raises(
            SourceError, match=r"licences.json can't be read as a list of licences .* Expected a JSON list"
        ):
            repository_licences(path)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json.gz", "mine.parquet"])
def test_the_users_own_pairs(tmp_path, write, name):
    path = write(tmp_path / name, OWN)
    first, second, third = readings("jsonl", "cnle", path, columns=OWN_COLUMNS, licence="CC0-1.0")
    assert first == pair("reverse `l`", "l[::-1]", ("jsonl", "", "lists", "MIT"), rephrasing="turn `l` around")
    assert (second.prompt, second.rephrasing, second.provenance.licence) == ("sort `l`", None, "CC0-1.0")
    assert second.provenance.group == third.provenance.group
    assert readings("jsonl", "cnle", path, columns=OWN_COLUMNS)[1].provenance.licence == "LicenseRef-unknown"
    assert readings("jsonl", "cnle", path)[0].reason == "field 'prompt' is missing"


def test_the_users_own_functions(tmp_path, write):
    rows = [
        {"prompt": 'def f(x):\n    """Double x."""\n    return 2 * x', "target": "Double x.", "origin": "a.py#L1"},
        {"prompt": "def g(x):\n    return -x", "target": "Negate x.", "func_name": "Box.g", "group": "box"},
        {"prompt": "x = 1", "target": "No function."},
    ]
    first, second, third = readings("jsonl", "csne", write(tmp_path / "mine.jsonl", rows))
    assert (first.prompt, first.target, first.func_name) == ("def f(x):\n    return 2 * x", "Double x.", "f")
    assert first.provenance.origin == "a.py#L1"
    assert (second.func_name, second.provenance.group) == ("Box.g", "box")
    assert third == Unreadable("no function in field 'prompt'", "x = 1")


def test_a_column_that_a_pair_does_not_have_is_an_error():
    with pytest.raises(
        ConfigError, match=r"unknown column 'intent' of source 'jsonl'. Known: prompt, target, func_name"
    ):
        SOURCES["jsonl"](None, "cnle", SourceOptions(columns={"intent": "q"}))


@pytest.mark.parametrize("name", ["cnle.json", "cnle.jsonl.gz"])
def test_released_cases(tmp_path, write, name):
    path = write(tmp_path / name, CASES)
    first, last = readings("clmeeval-json", "cnle", path)
    assert (first.prompt, first.target, first.rephrasing) == ("sort `l`", "sorted(l)", "put `l` in order")
    assert (first.provenance.origin, first.provenance.licence) == ("clmeeval-json#0", SO)
    assert last.provenance.group != first.provenance.group
    assert readings("clmeeval-json", "cnle", path, licence="CC-BY-4.0")[0].provenance.licence == "CC-BY-4.0"
    assert readings("clmeeval-json", "csne", path)[0].reason == "field 'code' is missing"

    whole = records(path, CNLE)
    assert (len(whole.records), whole.unreadable, whole.unanswered) == (2, [], 1)
    record = whole.records[0]
    assert record.case_id == CNLE.case_id("sort `l`", "sorted(l)")
    assert [(near.intent, near.snippet) for near in record.neighborhood] == [
        ("sort `l` in place", "l.sort()"),
        ("shuffle `l`", ""),
    ]
    assert record.neighborhood[0].similarity >= record.neighborhood[1].similarity > 0
    assert record.rephrasing == Rephrasing("released", "", "1")
    assert CNLE.from_row(CNLE.to_row(record)) == record


def test_released_functions(tmp_path, write):
    path = write(tmp_path / "csne.json", FUNCTION_CASES)
    (found,) = readings("clmeeval-json", "csne", path)
    assert (found.prompt, found.target, found.func_name) == ("def f(x):\n    return x", "Give x back.", "f")
    assert found.rephrasing == "def f(y):\n    return y"
    assert found.provenance.licence == "LicenseRef-unknown"
    whole = records(path, CSNE)
    assert whole.unanswered == 1
    assert (whole.records[0].func_name, whole.records[0].neighborhood[0].code) == ("f", "def g(x):\n    return -x")


@pytest.mark.parametrize(
    ("change", "reason", "in_pairs"),
    [
        ({"edit_request": None}, "field 'edit_request' is no object", True),
        ({"edit_request": {"intent": "i", "snippet": 1}}, "field 'snippet' is a int, expected text", True),
        ({"edit_request": {"intent": " ", "snippet": "s"}}, "field 'intent' is empty", True),
        ({"neighborhoods": None}, "field 'neighborhoods' has no list of items", False),
        ({"neighborhoods": {"items": ["i"]}}, "field 'neighborhoods' has no list of items", False),
        ({"neighborhoods": {"items": [{"intent": "\0"}]}}, "field 'intent' holds a null byte", False),
    ],
)
def test_a_damaged_case_is_named_and_the_others_are_read(tmp_path, write, change, reason, in_pairs):
    path = write(tmp_path / "cnle.jsonl", [{**CASES[0], **change}, CASES[1]])
    found = records(path, CNLE)
    assert [record.intent for record in found.records] == ["sort `l` in place"]
    assert [each.reason for each in found.unreadable] == [reason]
    reasons = [each.reason for each in readings("clmeeval-json", "cnle", path) if not isinstance(each, Pair)]
    assert reasons == ([reason] if in_pairs else [])


SMALL = {
    "sample": [{"topic": "t", "intent": "do it", "rewritten_intent": "get it done", "snippet": "it()"}],
    "conala-mined": MINED[:1],
    "conala-curated": CURATED[:1],
    "stackoverflow": OVERFLOW[:1],
    "python-docs": DOCS[:1],
    "codesearchnet": FUNCTIONS[1:2],
    "jsonl": [{"prompt": "def f():\n    return 1", "target": "Return one."}],
    "clmeeval-json": CASES[:1],
}
MUST_HAVE = {
    "sample": ("topic", "intent", "rewritten_intent", "snippet"),
    "conala-mined": ("question_id", "prob", "intent", "snippet"),
    "conala-curated": ("question_id", "intent", "snippet"),
    "stackoverflow": ("title", "snippet"),
    "python-docs": ("intent", "snippet"),
    "codesearchnet": ("code",),
    "jsonl": ("prompt", "target"),
    "clmeeval-json": ("edit_request",),
}


def test_every_source_that_reads_files_is_tested_here():
    assert {*SMALL, "stdlib"} == set(SOURCES) == {*MUST_HAVE, "stdlib"}


@pytest.mark.parametrize("name", SMALL)
def test_a_damaged_row_is_no_pair_and_the_others_are_read(tmp_path, name):
    good = json.dumps(SMALL[name][0])
    lines = [good, "{", "[]", good, '"text"', "\0", good]
    for field in MUST_HAVE[name]:
        row = {key: value for key, value in SMALL[name][0].items() if key != field}
        lines += [json.dumps(row), json.dumps({**row, field: None}), json.dumps({**row, field: [1]})]
        if field not in ("question_id", "prob", "edit_request"):
            lines += [json.dumps({**row, field: value}) for value in ("null \0 byte", "lone \ud800 surrogate", 7)]
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = readings(name, SOURCES[name].benchmarks[0], path)
    assert len(found) == len(lines)  # duplicates are fine, and nothing is lost
    assert [place for place, each in enumerate(found) if isinstance(each, Pair)] == [0, 3, 6]
    for each in found:
        if not isinstance(each, Pair):
            assert isinstance(each, Unreadable)
            each.text.encode()
            assert "\0" not in each.reason
            assert len(each.text) < 300


@pytest.mark.parametrize("body", ["    x = " + "1 + " * 2**15 + "2\n", "    x = '" + "x" * 2**20 + "'\n"])
def test_a_huge_function_is_read(tmp_path, write, body):
    code = f'def f():\n    """Add up."""\n{body}    return x'
    path = write(tmp_path / "x.jsonl", [{"code": code, "docstring": "Add up.", "repo": "a/b"}])
    (found,) = read(open_source(f"codesearchnet={path}", "csne"))
    assert (found.target, found.prompt) == ("Add up.", code.replace('    """Add up."""\n', ""))


def test_prompts_of_functions_parse_and_hold_no_docstring(tmp_path, write):
    (found, *_) = readings("codesearchnet", "csne", write(tmp_path / "x.jsonl", FUNCTIONS))
    assert syntax.parses(found.prompt)
    assert BENCHMARKS["csne"].prompt(found.prompt).startswith("Code: def area")

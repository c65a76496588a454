"""Sources of intents on small files of their original forms: how many pairs, the first, a middle and the last one."""

import json

import pytest

from clmeeval_data.builders.sources import Pair, Skipped
from clmeeval_data.builders.sources.stackoverflow import question_groups
from tests.builders.sources.small_corpora import CURATED, DOCS, MINED, OVERFLOW, SO, pair, readings

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
NAMES = ("__add__(b)", "add(b)", "__name__")


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

import pytest

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.scoring.slices import NO_LIBRARY, SLICINGS, UNKNOWN, code_of, library_of, slice_by
from clmeeval_data.records import CnleNeighbour, CnleRecord, Provenance, Rephrasing


def entry(number, target="x", prompt="Intent: i\nCode:"):
    return {"id": f"cnle-{number:04}", "case": {"prompt": prompt, "target": target}}


def record(number, source="mined", similarities=(50.0,)):
    neighbours = tuple(CnleNeighbour("n", "s", similarity) for similarity in similarities)
    provenance = Provenance(source, "origin", "group", "CC-BY-SA-4.0")
    return CnleRecord(f"cnle-{number:04}", "i", "r", "s", neighbours, provenance, Rephrasing("rules", "", "1"))


def test_lengths_fall_into_quarters_named_by_their_bounds():
    entries = [entry(length, target="a" * length) for length in range(1, 41)]
    slices = slice_by(reversed(entries), "target")
    assert list(slices) == ["1–10 characters", "11–20 characters", "21–30 characters", "31–40 characters"]
    assert slices["11–20 characters"] == [f"cnle-{number:04}" for number in range(11, 21)]


def test_equal_lengths_share_a_slice():
    lengths = [5] * 30 + [9] * 10
    slices = slice_by([entry(number, prompt="p" * length) for number, length in enumerate(lengths)], "prompt")
    assert {label: len(ids) for label, ids in slices.items()} == {"5 characters": 30, "9 characters": 10}


@pytest.mark.parametrize("by", SLICINGS)
def test_every_case_is_in_one_slice(by):
    entries = [entry(number, target=f"os.getcwd() + {'x' * (number * 7 % 13)}") for number in range(23)]
    records = {f"cnle-{number:04}": record(number, f"s{number % 3}", (number * 1.5, 3.0)) for number in range(20)}
    slices = slice_by(entries, by, records)
    ids = [case_id for part in slices.values() for case_id in part]
    assert sorted(ids) == [one["id"] for one in entries]
    assert all(slices.values())


def test_sources_come_from_the_records():
    entries = [entry(number) for number in range(6)]
    records = {f"cnle-{number:04}": record(number, "hand" if number < 2 else "mined") for number in range(5)}
    assert slice_by(entries, "source", records) == {
        "mined": ["cnle-0002", "cnle-0003", "cnle-0004"],
        "hand": ["cnle-0000", "cnle-0001"],
        UNKNOWN: ["cnle-0005"],
    }


def test_similarity_is_the_closest_neighbours():
    entries = [entry(number) for number in range(4)]
    similarities = [(10.0, 70.25), (60.0,), (), (80.0, 79.0)]
    records = {f"cnle-{number:04}": record(number, similarities=found) for number, found in enumerate(similarities)}
    assert list(slice_by(entries, "similarity", records)) == ["0.0", "60.0", "70.2", "80.0"]


def test_what_needs_the_dataset_says_so():
    with pytest.raises(ConfigError, match=r"slices by source need the dataset.*--dataset"):
        slice_by([entry(1)], "source")
    with pytest.raises(ConfigError, match=r"no slices by 'colour'. Expected one of target, prompt, library"):
        slice_by([entry(1)], "colour")


@pytest.mark.parametrize(
    ("code", "library"),
    [
        ("np.linalg.norm(a)", "numpy"),
        ("import pandas as p\np.DataFrame(x)", "pandas"),
        ("df.groupby('a').sum()", "pandas"),
        ("os.path.join(a, b)", "os"),
        ("[re.sub('a', 'b', x) for x in sys.argv]", "re"),
        ("sorted(x)", NO_LIBRARY),
        ("x.strip().lower()", NO_LIBRARY),
        ("string.split(',')", NO_LIBRARY),
        ("import string\nstring.ascii_letters", "string"),
        ("re = 1\nre.real", NO_LIBRARY),
        ("from datetime import date", "datetime"),
        ("os.path.join(", "os"),
    ],
)
def test_the_library_is_the_first_module_imported_or_named(code, library):
    assert library_of(code) == library


def test_rare_libraries_share_a_slice():
    targets = ["os.getcwd()"] * 6 + ["re.sub(a, b, c)", "json.loads(a)", "np.sum(a)", "len(a)"]
    slices = slice_by([entry(number, target) for number, target in enumerate(targets)], "library")
    assert {label: len(ids) for label, ids in slices.items()} == {
        "os": 6,
        "other standard library": 2,
        NO_LIBRARY: 1,
        "other package": 1,
    }


def test_the_code_of_a_description_is_what_the_prompt_asks_about():
    asked = entry(1, target="Add two numbers.", prompt="Code: def f(a):\n    return os.sep\nDescription:")
    assert code_of(asked) == "def f(a):\n    return os.sep"
    assert code_of(entry(1, target="f(x)")) == "f(x)"
    assert slice_by([asked], "library") == {"other standard library": ["cnle-0001"]}

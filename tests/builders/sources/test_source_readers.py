"""Every source on rows that are damaged: each is named, and the others are read."""

import gzip
import json

import pytest

from clmeeval_data.builders.sources import SOURCES, Pair, Unreadable
from tests.builders.sources.small_corpora import CASES, CURATED, DOCS, FUNCTIONS, MINED, OVERFLOW, readings

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

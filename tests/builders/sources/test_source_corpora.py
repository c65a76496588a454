"""The sources on the real corpora, where these are at hand: how many rows there are, and what becomes of them."""

from collections import Counter

import pytest

from clmeeval_data import syntax
from clmeeval_data.builders.sources import Pair, Skipped, SourceOptions, Unreadable, open_source, read


def counted(source):
    found = list(read(source))
    reasons = Counter(each.reason for each in found if not isinstance(each, Pair))
    return [each for each in found if isinstance(each, Pair)], reasons


def test_the_curated_pairs(corpora):
    source = open_source(f"conala-curated={corpora}", "cnle")
    pairs, reasons = counted(source)
    assert (len(pairs), reasons) == (2379 + 500, Counter())
    assert sum(pair.rephrasing is None for pair in pairs) == 79 + 23
    assert [file.address for file in source.files()] == [
        "conala_curated_test.jsonl.gz",
        "conala_curated_train.jsonl.gz",
    ]
    by_prompt = {pair.prompt: pair for pair in pairs}
    pair = by_prompt["send a signal `signal.SIGUSR1` to the current process"]
    assert (pair.target, pair.rephrasing, pair.provenance.group) == (
        "os.kill(os.getpid(), signal.SIGUSR1)",
        "How can I send a signal from a python program?",
        "so-15080500",
    )


def test_the_titles_of_stack_overflow(corpora):
    pairs, reasons = counted(open_source(f"stackoverflow={corpora}", "cnle"))
    assert len(pairs) + reasons.total() == 29_435
    assert reasons == {"field 'snippet' is empty": 380, "field 'title' is empty": 2}
    assert len({pair.provenance.group for pair in pairs}) == 29_039
    assert not [pair for pair in pairs if pair.target.startswith(">>>")]
    assert {pair.provenance.source for pair in pairs} == {"stackoverflow"}


def test_the_documentation(corpora):
    pairs, reasons = counted(open_source(f"python-docs={corpora}", "cnle"))
    assert len(pairs) + reasons.total() == 12_958
    assert len(pairs) > 11_500
    assert len({pair.provenance.group for pair in pairs}) > 6_900
    unspaced = [pair for pair in pairs if " ," in pair.prompt or "( " in pair.prompt or " )" in pair.prompt]
    assert unspaced == []
    assert all(pair.prompt.endswith(".") and pair.prompt.count("`") % 2 == 0 for pair in pairs)


@pytest.fixture(scope="module")
def functions(corpora):
    """How many rows there are with and without a repository, and what every twelfth gives."""
    options = SourceOptions(repository_licences=corpora / "codesearchnet_repo_licenses.json")
    source = open_source(f"codesearchnet={corpora}", "csne", options)
    rows, found = Counter(), []
    for number, row in enumerate(source.rows()):
        rows["repo" in row] += 1
        found.extend(source.pairs(row) if number % 12 == 0 else ())
    return rows, found


def test_codesearchnet_has_all_its_rows(functions):
    assert functions[0] == {True: 10_581 + 10_355, False: 6_267}


def test_functions_have_no_docstring_and_a_sentence(functions):
    _, found = functions
    assert not [each for each in found if isinstance(each, Unreadable)]
    pairs = [each for each in found if isinstance(each, Pair)]
    assert sum(isinstance(each, Skipped) for each in found) < 0.01 * len(found)
    assert len(pairs) > 2_200
    for pair in pairs:
        assert pair.func_name
        assert "\n" not in pair.target
        assert not any(each.docstring for each in syntax.functions(pair.prompt)), pair.prompt


def test_most_functions_have_a_licence(functions):
    _, found = functions
    licences = Counter(each.provenance.licence for each in found if isinstance(each, Pair))
    assert licences["LicenseRef-unknown"] < 0.01 * licences.total()
    assert {"MIT", "Apache-2.0", "BSD-3-Clause", "LicenseRef-GPL", "LicenseRef-C-UDA"} <= set(licences)

"""What holds for every case of the whole CNLE and the whole CSNE.

What is promised is checked by other means than those by which it was built: Python's own parser, plain comparisons.
"""

import ast
import json
import re
import warnings
from collections import Counter, defaultdict

import pytest

from clmeeval_data.builders.sources import Pair, open_source, read
from clmeeval_data.validate import check_dataset
from tests.clmeeval_data.hub.loopback.server import serving
from tests.clmeeval_data.hub.loopback.whole import check_loads_as_built

pytestmark = pytest.mark.long

LEAST = {"cnle": 21_000, "csne": 16_000}


def folded(text):
    return " ".join(text.casefold().split())


def parsed(code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes
        return ast.parse(code)


def test_there_are_as_many_cases_as_were_published(whole):
    assert len(whole.cases) >= LEAST[whole.benchmark.name]
    counts = ", ".join(f"{split} {len(cases)}" for split, cases in whole.splits.items())
    assert whole.printed == f"{whole.folder}: {len(whole.cases)} cases ({counts})\n"
    assert len(whole.splits["test"]) > 0.15 * len(whole.cases)


def test_validate_finds_nothing(whole):
    assert check_dataset(whole.folder) == []


def test_load_dataset_gives_the_same_cases_at_once_and_streamed(whole, tmp_path):
    import datasets

    loaded = datasets.load_dataset(str(whole.folder), cache_dir=str(tmp_path))
    for split, cases in whole.splits.items():
        rows = list(map(whole.benchmark.to_row, cases))
        assert loaded[split].to_list() == rows
        assert list(datasets.load_dataset(str(whole.folder), split=split, streaming=True)) == rows


def test_it_is_published_and_loads_from_the_hub_in_a_fresh_process(whole, tmp_path):
    with serving() as hub:
        check_loads_as_built(whole.folder, hub, tmp_path)


def test_the_card_counts_what_is_there(whole):
    text = (whole.folder / "README.md").read_text(encoding="utf-8")
    numbers = {number.replace(",", "") for number in re.findall(r"\d[\d,]*", text)}
    counts = Counter((case.provenance.source, case.provenance.licence) for case in whole.cases)
    engines = Counter(case.rephrasing.engine for case in whole.cases)
    groups = {case.provenance.group for case in whole.cases}
    expected = [len(whole.cases), len(groups), *map(len, whole.splits.values()), *counts.values(), *engines.values()]
    assert {str(number) for number in expected} <= numbers


def test_ids_are_unique_and_made_of_prompt_and_target(whole):
    ids = [case.case_id for case in whole.cases]
    assert len(set(ids)) == len(ids)
    assert ids == [whole.benchmark.case_id(whole.prompt(case), whole.target(case)) for case in whole.cases]


def test_no_group_is_in_two_splits(whole):
    splits = defaultdict(set)
    for split, cases in whole.splits.items():
        for case in cases:
            splits[case.provenance.group].add(split)
    assert max(map(len, splits.values())) == 1


def test_no_prompt_contains_its_target(whole):
    for case in whole.cases:
        target = folded(whole.target(case))
        assert target not in folded(whole.prompt(case))
        assert target not in folded(whole.rephrased(case))


def test_hardly_any_case_is_lost_for_want_of_a_rephrasing(whole):
    lost = sum(count for (_, reason), count in whole.reasons.items() if "no rewording" in reason)
    assert lost < 0.05 * len(whole.cases)


def test_rephrasings_differ_from_their_prompts(whole):
    for case in whole.cases:
        assert folded(whole.rephrased(case)).rstrip(".?! ") != folded(whole.prompt(case)).rstrip(".?! ")


def test_neighbours_are_other_requests_with_other_answers(whole):
    groups = {whole.prompt(case): case.provenance.group for case in whole.cases}
    for case in whole.cases:
        neighbours = whole.neighbours(case)
        assert len(neighbours) == 3
        answers = [folded(answer) for answer in (whole.target(case), *(answer for _, answer in neighbours))]
        prompts = [folded(prompt) for prompt in (whole.prompt(case), *(prompt for prompt, _ in neighbours))]
        assert len(set(answers)) == len(set(prompts)) == 4
        if whole.benchmark.name == "cnle":
            assert case.provenance.group not in [groups.get(prompt) for prompt, _ in neighbours]


def test_no_prompt_is_there_twice(whole):
    assert max(Counter(folded(whole.prompt(case)) for case in whole.cases).values()) == 1


def test_all_code_parses(whole):
    for case in whole.cases:
        codes = [case.snippet] if whole.benchmark.name == "cnle" else [case.code, case.code_rewrite]
        assert all(parsed(code).body for code in codes)


def test_cases_keep_their_ids_and_texts_when_another_source_goes(cnle, cnle_without):
    before = {case.case_id: case for case in cnle.cases}
    fewer = cnle_without("stackoverflow").cases
    known = [case for case in fewer if case.case_id in before]
    assert len(known) > 0.99 * len(fewer)
    for case in known:
        other = before[case.case_id]
        assert (case.intent, case.rewritten_intent, case.snippet) == (
            other.intent,
            other.rewritten_intent,
            other.snippet,
        )


def test_enough_is_left_of_each_source_of_cnle(cnle):
    counts = Counter(case.provenance.source for case in cnle.cases)
    assert counts["conala-curated"] > 0.9 * 2879
    assert min(counts["stackoverflow"], counts["python-docs"]) > 10_000
    assert cnle.reasons["stackoverflow", "reports a fault"] > 4000
    assert sum(count for (source, _), count in cnle.reasons.items() if source == "conala-curated") < 0.1 * 2879


def test_snippets_do_something(cnle):
    nothing = (ast.Import, ast.ImportFrom, ast.Pass)
    for case in cnle.cases:
        statements = parsed(case.snippet).body
        values = [statement.value for statement in statements if isinstance(statement, ast.Expr)]
        idle = [value for value in values if isinstance(value, ast.Name | ast.Constant)]
        assert len(idle) + sum(isinstance(each, nothing) for each in statements) < len(statements), case.snippet
        assert ">>>" not in case.snippet.split()


def test_intents_are_readable_requests(cnle):
    for case in cnle.cases:
        assert 3 <= len(case.intent.split()) <= 80
        letters = [letter for letter in case.intent if letter.isalpha()]
        assert sum(letter.isascii() for letter in letters) >= 0.5 * len(letters)
        assert not case.intent.rstrip().endswith((":", ","))
        if not case.intent.endswith("."):
            assert not case.intent.casefold().startswith(("why ", "what does ", "should i "))


def test_rephrased_intents_keep_the_marked_names_of_the_answer(cnle):
    for case in cnle.cases:
        marked = re.findall(r"`([^`]+)`", case.intent)
        needed = [name for name in marked if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", case.snippet)]
        assert all(name in case.rewritten_intent for name in needed), case.intent


def test_no_intent_is_there_twice_but_for_its_articles(cnle):
    articles = ("a", "an", "the")
    words = (folded(case.intent).rstrip("?").split() for case in cnle.cases)
    counts = Counter(" ".join(word for word in intent if word not in articles) for intent in words)
    assert max(counts.values()) == 1


def test_curated_pairs_win_over_others(cnle, raw):
    curated = {folded(case.intent).rstrip("?") for case in cnle.cases if case.provenance.source == "conala-curated"}
    others = {folded(case.intent).rstrip("?") for case in cnle.cases if case.provenance.source != "conala-curated"}
    titles = read(open_source(f"stackoverflow={raw}", "cnle"))
    asked = {folded(pair.prompt).rstrip("?") for pair in titles if isinstance(pair, Pair)}
    assert not curated & others
    assert curated & asked  # so that something was decided


def test_functions_hold_no_docstring(csne):
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for case in csne.cases:
        for code in (case.code, case.code_rewrite):
            tree = parsed(code)
            assert isinstance(tree.body[0], documented)
            assert not any(ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
        name = case.func_name.rpartition(".")[2]
        assert not name.startswith("test_")
        assert not (name.startswith("__") and name.endswith("__"))


def test_descriptions_are_sentences_that_the_function_does_not_say(csne):
    for case in csne.cases:
        assert folded(case.code_doc).rstrip(".!") not in folded(case.code)
        assert 4 <= len(case.code_doc.split()) <= 30
        assert case.code_doc.isascii()
        assert case.code_doc[-1] in ".!"
        assert case.code_doc[0].isalnum() or case.code_doc[0] in "('\""
        assert not re.search("https?://", case.code_doc)


def test_no_function_is_there_twice_but_for_its_layout(csne):
    shapes = Counter(ast.dump(parsed(case.code)) for case in csne.cases)
    assert max(shapes.values()) == 1


def test_licences_of_functions_are_those_of_their_repositories(csne, raw):
    stated = json.loads((raw / "codesearchnet_repo_licenses.json").read_text())
    guesses = {entry["repo"]: entry["license_guess"] for entry in stated}
    counts = Counter(case.provenance.licence for case in csne.cases)
    assert len(counts) > 5
    assert counts["LicenseRef-C-UDA"] > 3000
    for case in csne.cases:
        found = re.match(r"https://github.com/([^/]+/[^/]+)/", case.provenance.origin)
        assert (case.provenance.licence == "MIT") == (found is not None and guesses.get(found[1]) == "MIT")

"""The filters and the removal of duplicates on the real corpora: no kept pair breaks what the rules promise.

What is promised is checked by other means than the filters use: Python's own parser, and plain comparisons.
"""

import ast
import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from clmeeval_data.builders.dedup import Dedup, duplicates, winning_order
from clmeeval_data.builders.filters import for_recipe
from clmeeval_data.builders.filters.rules import DescriptionRules, FunctionRules, IntentRules, Rules, SnippetRules
from clmeeval_data.builders.notation import in_python_3
from clmeeval_data.builders.recipes import CNLE_SAMPLE, CSNE_SAMPLE, Span
from clmeeval_data.builders.sources import Pair, open_source

CORPORA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not CORPORA.is_dir(), reason="needs the raw corpora beside the checkout: ../shared/data"
)

CNLE = replace(CNLE_SAMPLE, prompt_length=Span(12, 500), target_length=Span(4, 500), text_words=Span(3, 80))
CNLE_RULES = Rules(
    compiler=True,
    intents=IntentRules(ascii_share=0.9, whole=True, requests=True, content_words=1),
    snippets=SnippetRules(True, True, True, most_tokens=150, shared_words=1, shared_by_name=2),
)
CSNE = replace(
    CSNE_SAMPLE, prompt_length=Span(60, 1800), target_length=Span(15, 200), text_words=Span(4, 30), prose_share=0.6
)
CSNE_RULES = Rules(
    compiler=True,
    descriptions=DescriptionRules(ascii_share=0.9, summary=True, shared_words=1),
    functions=FunctionRules(silent=True, repeating_text=80.0, library=True, fewest_tokens=28, most_tokens=400),
)


def read(recipe, *specs, every=1):
    for spec in specs:
        source = open_source(spec, recipe.benchmark)
        for number, row in enumerate(source.rows()):
            if number % every == 0:
                yield from (pair for pair in source.pairs(row) if isinstance(pair, Pair))


def sift(pairs, recipe, rules):
    """The pairs that are kept, and why the others went."""
    steps = for_recipe(recipe, rules)
    kept, reasons = [], Counter()
    for pair in pairs:
        reason = next((reason for _, reason_of in steps if (reason := reason_of(pair))), None)
        if reason is None:
            kept.append(pair)
        else:
            reasons[pair.provenance.source, reason] += 1
    return kept, reasons


def without_duplicates(pairs, rule, benchmark):
    gone = duplicates(pairs, rule, benchmark, winning_order(pairs, benchmark))
    assert not {duplicate.of for duplicate in gone.values()} & set(gone)
    return [pair for place, pair in enumerate(pairs) if place not in gone]


@pytest.fixture(scope="module")
def cnle():
    """What the intents of all sources come to, and why the others went."""
    specs = [f"{name}={CORPORA}" for name in ("conala-curated", "stackoverflow", "python-docs")]
    raw = (replace(pair, target=in_python_3(pair.target)) for pair in read(CNLE, *specs))
    kept, reasons = sift(raw, CNLE, CNLE_RULES)
    return without_duplicates(kept, Dedup(wording=True, near_text=80), "cnle"), reasons


@pytest.fixture(scope="module")
def csne():
    """What every fifth function comes to, and why the others went."""
    raw = read(CSNE, f"codesearchnet={CORPORA}", every=5)
    kept, reasons = sift(raw, CSNE, CSNE_RULES)
    return without_duplicates(kept, Dedup(near_text=85, near_code=80), "csne"), reasons


def folded(text):
    return " ".join(text.casefold().split())


def parsed(code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes
        return ast.parse(code)


def test_enough_intents_are_left(cnle):
    kept, reasons = cnle
    counts = Counter(pair.provenance.source for pair in kept)
    assert counts["conala-curated"] > 0.9 * 2879
    assert counts["stackoverflow"] > 10_000
    assert counts["python-docs"] > 10_000
    assert counts.total() > 23_000
    assert reasons["stackoverflow", "reports a fault"] > 4000
    assert sum(count for (source, _), count in reasons.items() if source == "conala-curated") < 0.03 * 2879


def test_kept_snippets_are_python_that_does_something(cnle):
    nothing = (ast.Import, ast.ImportFrom, ast.Pass)
    for pair in cnle[0]:
        statements = parsed(pair.target).body
        assert statements
        values = [statement.value for statement in statements if isinstance(statement, ast.Expr)]
        idle = [value for value in values if isinstance(value, ast.Name | ast.Constant)]
        assert len(idle) + sum(isinstance(statement, nothing) for statement in statements) < len(statements), (
            pair.target
        )
        assert ">>>" not in pair.target.split()


def test_kept_intents_are_readable_requests_that_do_not_give_the_answer_away(cnle):
    for pair in cnle[0]:
        assert folded(pair.target) not in folded(pair.prompt)
        assert pair.rephrasing is None or folded(pair.target) not in folded(pair.rephrasing)
        assert 3 <= len(pair.prompt.split()) <= 80
        letters = [letter for letter in pair.prompt if letter.isalpha()]
        assert sum(letter.isascii() for letter in letters) >= 0.5 * len(letters)
        assert not pair.prompt.rstrip().endswith((":", ","))
        if not pair.prompt.endswith("."):
            assert not pair.prompt.casefold().startswith(("why ", "what does ", "should i "))


def test_no_intent_is_kept_twice(cnle):
    kept, _ = cnle
    assert max(Counter(folded(pair.prompt) for pair in kept).values()) == 1
    without_articles = Counter(
        (" ".join(word for word in folded(pair.prompt).rstrip("?").split() if word not in ("a", "an", "the")))
        for pair in kept
    )
    assert max(without_articles.values()) == 1


def test_curated_pairs_win_over_others(cnle):
    curated = {folded(pair.prompt).rstrip("?") for pair in cnle[0] if pair.provenance.source == "conala-curated"}
    others = {folded(pair.prompt).rstrip("?") for pair in cnle[0] if pair.provenance.source != "conala-curated"}
    raw = {folded(pair.prompt).rstrip("?") for pair in read(CNLE, f"stackoverflow={CORPORA}")}
    assert not curated & others
    assert curated & raw  # so that something was decided


def test_enough_functions_are_left(csne):
    kept, _ = csne
    assert len(kept) > 18_500 / 5


def test_kept_functions_parse_and_hold_no_docstring(csne):
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for pair in csne[0]:
        tree = parsed(pair.prompt)
        assert isinstance(tree.body[0], documented)
        assert [node.name for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)] == []
        name = pair.func_name.rpartition(".")[2]
        assert not name.startswith("test_")
        assert not (name.startswith("__") and name.endswith("__"))


def test_kept_descriptions_are_sentences_that_the_function_does_not_say(csne):
    for pair in csne[0]:
        assert folded(pair.target).rstrip(".!") not in folded(pair.prompt)
        assert 4 <= len(pair.target.split()) <= 30
        assert pair.target.isascii()
        assert pair.target[-1] in ".!"
        assert pair.target[0].isalnum() or pair.target[0] in "('\""
        assert "://" not in pair.target


def test_no_function_is_kept_twice(csne):
    shapes = defaultdict(list)
    for pair in csne[0]:
        tree = parsed(pair.prompt)
        shapes[ast.dump(tree)].append(pair)
    assert max(map(len, shapes.values())) == 1

"""The rules engine on real intents: how many get a wording, and what every wording keeps to."""

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from clmeeval_data.paraphrase.checks import Bounds, refusal
from clmeeval_data.paraphrase.engine import Setting
from clmeeval_data.paraphrase.rules.engine import RulesEngine

DATA = Path(__file__).parents[3] / "shared" / "data"
SAMPLE = 300
CORPORA = {
    "annotated": (["conala_curated_train.jsonl.gz", "conala_curated_test.jsonl.gz"], "rewritten_intent", 0.99),
    "raw": (["conala_curated_train.jsonl.gz", "conala_curated_test.jsonl.gz"], "intent", 0.99),
    "titles": (["stackoverflow_python_ejhfast.jsonl.gz"], "title", 0.98),
    "manual": (["python_docs_api_pairs.jsonl.gz"], "intent", 0.95),
}
BOUNDS = Bounds(code=False, most_similar=95.0, shortest=0.5, longest=2.0)
# What tells one request from another, apart from what the tables know to be the same.
KEPT = re.compile(
    r"\b(?:first|last|second|third|keys?|rows?|columns?|without|except|greater|less|lists?|tuples?|length|\d+)\b",
    re.IGNORECASE,
)
LITERAL = re.compile(r"`[^`]*`|(?<!\w)\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|\b\w+(?:\.\w+)+\b|\b\w*_\w*\b|\b[A-Z]{2,}\b")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the raw corpora are not in {DATA.name}/")


def texts(name):
    """A sample of the different texts of a corpus; of a description its first sentence."""
    names, field, _ = CORPORA[name]
    found = {}
    for file in names:
        with gzip.open(DATA / file, "rt", encoding="utf-8") as lines:
            found.update((json.loads(line)[field], None) for line in lines)
    found.pop(None, None)
    if name == "manual":
        found = {re.split(r"(?<=\.) (?=With arguments|[A-Z`])", text)[0]: None for text in found}
        found = {text: None for text in found if len(text.split()) <= 30}
    return random.Random(name).sample(list(found), SAMPLE)


@pytest.mark.parametrize("name", CORPORA)
def test_nearly_all_intents_get_a_wording_that_keeps_what_it_must(name):
    prompts = texts(name)
    reworded = RulesEngine(Setting(seed=1)).rewrite(prompts)
    assert sum(text is not None for text in reworded) >= CORPORA[name][2] * SAMPLE
    for prompt, text in zip(prompts, reworded, strict=True):
        if text is not None:
            assert refusal(prompt, text, "\x00", BOUNDS) is None, (prompt, text)
            lost = Counter(LITERAL.findall(prompt)) - Counter(LITERAL.findall(text))
            assert not lost, (prompt, text)
            assert not re.search(r"\b(?:how to|how do i|way to) (?:returns|sorts|gets|removes|creates)\b", text, re.I)


@pytest.mark.parametrize("name", ["annotated", "raw", "titles"])
def test_what_tells_requests_apart_is_kept(name):
    """Nested lists and added words aside, the words that matter are the same ones as often as before."""
    prompts = [prompt for prompt in texts(name) if not re.search(r"lists? of lists|enumerate|\blist\b.*files", prompt)]
    for prompt, text in zip(prompts, RulesEngine(Setting(seed=2)).rewrite(prompts), strict=True):
        if text is not None:
            before, after = (Counter(word.casefold() for word in KEPT.findall(item)) for item in (prompt, text))
            assert before == after, (prompt, text)


def test_another_seed_mostly_gives_another_wording():
    prompts = texts("annotated")
    one, other = (RulesEngine(Setting(seed=seed)).rewrite(prompts) for seed in (1, 2))
    assert sum(first != second for first, second in zip(one, other, strict=True)) >= 0.8 * SAMPLE

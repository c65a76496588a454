"""The search gives what scoring every text gives: the same texts in the same order with the same scores."""

import math
import random
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from rapidfuzz import fuzz, process

from clmeeval_data import syntax
from clmeeval_data.builders.closest import SCORERS, Index, Match
from clmeeval_data.builders.closest import index as index_module
from clmeeval_data.builders.closest.scorers import words
from clmeeval_data.builders.sources import read
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.errors import UnknownNameError

ODD_TEXTS = [
    "",
    "a",
    "",
    " \t",
    "?!",
    "a a a",
    "A",
    "ä ß 野菜 🥕",
    "\ud800 b\x00c",
    "b",
    "野菜",
    "a",
    "straße",
    "STRASSE",
]


def sentences(number, seed, vocabulary="abcdefghij", longest=9):
    """Texts of few words, so that many are equally close and some are equal or empty."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(vocabulary, k=draw.randint(0, longest))) for _ in range(number)]


def functions(number, seed):
    draw = random.Random(seed)
    lines = ["x = a + 1", "for i in a: b.add(i)", "return sorted(a)", "y = b.get('k')", "print(a, b)", "del b[a]"]
    return ["def f(a, b):\n    " + "\n    ".join(draw.choices(lines, k=draw.randint(1, 7))) for _ in range(number)]


def recombined(number, seed):
    """Intents made of the words of real ones, each as long as some real one."""
    draw = random.Random(seed)
    real = [pair.prompt.split() for pair in read(SampleSource())]
    every = [word for intent in real for word in intent]
    return [" ".join(draw.choices(every, k=len(draw.choice(real)))) for _ in range(number)]


def by_definition(texts, scorer):
    """The score of any two texts, written down as plainly as possible."""
    if scorer == "tokens":
        tokens = [syntax.tokens(text) for text in texts]
        return lambda one, other: fuzz.ratio(tokens[one], tokens[other])
    bags = [Counter(words(text)) for text in texts]
    holders = Counter(word for bag in bags for word in bag)
    weights = {word: max(1, round(math.log2(len(texts) / held))) for word, held in holders.items()}
    totals = [sum(weights[word] * count for word, count in bag.items()) for bag in bags]

    def score(one, other):
        both = totals[one] + totals[other]
        shared = sum(weights[word] * count for word, count in (bags[one] & bags[other]).items())
        return 200 * shared / both if both else 100.0

    return score


def brute_force(score, number, query):
    """Every other place with its score, by falling score and then by place."""
    scores = ((place, score(query, place)) for place in range(number) if place != query)
    return sorted(scores, key=lambda match: (-round(match[1], 9), match[0]))


def check(found, expected):
    assert [place for place, _ in found] == [place for place, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-9)


@pytest.mark.parametrize(
    ("scorer", "texts"),
    [
        ("words", sentences(150, 1)),
        ("words", sentences(150, 2, "ab", 3)),
        ("words", recombined(150, 3)),
        ("words", ODD_TEXTS),
        ("tokens", functions(120, 4)),
        ("tokens", sentences(100, 5, ["x", "y", "(", ")", "1", "'s'"])),
        ("tokens", ODD_TEXTS),
    ],
)
def test_the_whole_order_equals_brute_force(scorer, texts):
    index, score = Index(texts, scorer), by_definition(texts, scorer)
    assert len(index) == len(texts)
    for query in range(0, len(texts), 1 if len(texts) < 50 else 7):
        check(list(index.ranked(query)), brute_force(score, len(texts), query))


@pytest.mark.parametrize("scorer", SCORERS)
def test_the_closest_of_many_equal_those_of_cdist(scorer):
    texts = recombined(6000, 6) + sentences(500, 7) if scorer == "words" else functions(1500, 8)
    index = Index(texts, scorer)
    written = [index.written(place) for place in range(len(texts))]
    queries = random.Random(9).sample(range(len(texts)), 40)
    scores = process.cdist([written[query] for query in queries], written, scorer=fuzz.ratio, dtype=np.float64)
    for query, row in zip(queries, scores, strict=True):
        row[query] = -1
        order = (-row).argsort(kind="stable").tolist()
        assert list(islice(index.ranked(query), 60)) == [(place, row[place]) for place in order[:60]]
        for threshold in (95, 85, 60, 30.5):
            assert index.above(query, threshold) == [(p, row[p]) for p in order if row[p] >= threshold]


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("threshold", [100, 90, 200 / 3, 50, 0.001, 0, -1])
def test_all_above_a_threshold_equal_brute_force(scorer, threshold):
    texts = [*sentences(60, 10, "abc", 4), *ODD_TEXTS]
    index, score = Index(texts, scorer), by_definition(texts, scorer)
    for query in range(len(texts)):
        expected = [match for match in brute_force(score, len(texts), query) if match[1] >= threshold - 1e-9]
        found = index.above(query, threshold - 1e-9)
        check(found, expected)
        assert index.above(query, threshold) == [match for match in found if match.score >= threshold]


def test_equal_texts_are_the_closest_and_ties_go_to_the_first():
    index = Index(["a b c", "a b d", "c b a", "a b e", "a b c", "x"], "words")
    assert list(index.ranked(0))[:4] == [(2, 100.0), (4, 100.0), (1, pytest.approx(50)), (3, pytest.approx(50))]
    assert list(index.ranked(0))[4:] == [(5, 0.0)]
    assert index.above(0, 100) == [Match(2, 100.0), Match(4, 100.0)]


def test_rare_words_count_more_than_common_ones():
    texts = ["sort the list", "print the list", "print the tree", "sort the tree", "find the yak", "lose the yak"]
    assert [place for place, _ in islice(Index(texts, "words").ranked(4), 2)] == [5, 0]


def test_order_counts_for_tokens_alone():
    assert next(Index(["f(a) + b", "b + f(a)"], "tokens").ranked(0)).score < 100
    assert next(Index(["f(a) + b", "b + f(a)"], "words").ranked(0)).score == 100


def test_case_and_plural_do_not_count_for_words():
    assert words("Lists of my_Dicts, a bus's v3.10") == ["list", "of", "my", "dict", "a", "bus", "s", "v", "3", "10"]


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_text_of_the_pool_is_found_as_another_text_too(scorer):
    texts = sentences(80, 11) if scorer == "words" else functions(80, 12)
    index = Index(texts, scorer)
    for query in range(0, 80, 9):
        found = list(index.ranked(texts[query]))
        assert sorted(place for place, _ in found) == list(range(80))
        assert found[0].score == 100
        assert [match for match in found if match.place != query] == list(index.ranked(query))


def test_words_that_the_pool_does_not_know_weigh_as_rare_ones():
    index = Index(["sort list", "sort tree", "sort set", "sort bag"], "words")
    assert list(index.ranked("sort list backwards")) == [
        (0, pytest.approx(200 * 3 / (3 + 5))),
        (1, pytest.approx(200 * 1 / (3 + 5))),
        (2, pytest.approx(200 * 1 / (3 + 5))),
        (3, pytest.approx(200 * 1 / (3 + 5))),
    ]
    assert [score for _, score in index.ranked("nothing known")] == [0.0] * 4
    assert [score for _, score in index.ranked("?")] == [0.0] * 4


def test_tokens_that_the_pool_does_not_know_match_nothing():
    texts = ["f(x)", "g(y)"]
    assert list(Index(texts, "tokens").ranked("f(z)")) == [
        (0, pytest.approx(fuzz.ratio(["f", "(", "z", ")"], ["f", "(", "x", ")"]))),
        (1, pytest.approx(50)),
    ]


def test_no_pool_and_a_pool_of_one():
    assert len(Index([], "words")) == 0
    assert list(Index([], "tokens").ranked("a")) == []
    assert list(Index(["a"], "words").ranked(0)) == []
    assert Index(["a"], "words").above(0, 50) == []


def test_the_first_matches_need_few_scores_and_not_all_postings(monkeypatch):
    texts = recombined(5000, 13)
    scored, readings = [], []
    real = Index._scores

    def counting(self, reading, asked, places):
        scored.append(len(places))
        readings.append(reading)
        return real(self, reading, asked, places)

    monkeypatch.setattr(Index, "_scores", counting)
    index = Index(texts, "words")
    for query in range(50):
        list(islice(index.ranked(query), 3))
    assert sum(scored) < 0.1 * 50 * len(texts)
    assert len({id(reading) for reading in readings if reading.finished}) < 10


def test_searches_do_not_disturb_one_another():
    index = Index(sentences(200, 14), "words")
    alone = [list(index.ranked(query)) for query in (0, 1)]
    together = list(zip(index.ranked(0), index.ranked(1), strict=True))
    assert [list(each) for each in zip(*together, strict=True)] == alone


def test_more_parts_than_characters(monkeypatch):
    texts = functions(60, 15)
    index = Index(texts, "tokens")
    assert isinstance(index.written(0), str)
    expected = [list(index.ranked(query)) for query in range(60)]
    monkeypatch.setattr(index_module, "_CHARACTERS", 7)
    index = Index(texts, "tokens")
    assert isinstance(index.written(0), tuple)
    assert [list(index.ranked(query)) for query in range(60)] == expected


def test_no_part_is_written_as_half_a_character():
    words_of_pool = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefghij" for c in map(chr, range(0x4E00, 0x5200))]
    index = Index(words_of_pool, "words")
    for place in (0, 0xD7FF, 0xD800, 0xD801, len(words_of_pool) - 1):
        text = index.written(place)
        assert text == text.encode("utf-8").decode("utf-8")
        assert fuzz.ratio(text, index.written(place)) == 100
        assert fuzz.ratio(text, index.written(1)) == 0


def test_what_is_not_there_is_refused():
    with pytest.raises(UnknownNameError, match=r"unknown scorer 'letters'\. Known: tokens, words"):
        Index(["a"], "letters")
    index = Index(["a"], "words")
    for place in (-1, 1):
        with pytest.raises(IndexError, match=f"no text {place} in a pool of 1"):
            next(index.ranked(place))
        with pytest.raises(IndexError):
            index.above(place, 50)

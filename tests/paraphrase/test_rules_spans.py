"""What the rules may not touch: literals, code, names and numbers stay to the byte, wherever they stand."""

import random
import re
from collections import Counter

import pytest

from clmeeval_data.paraphrase.engine import Setting
from clmeeval_data.paraphrase.rules.engine import RulesEngine
from clmeeval_data.paraphrase.rules.spans import MASKED, QUOTED, TOPIC, Masking

LITERALS = [
    "`list of lists`", "`using`", "'the element'", '"remove each dictionary"', "`[[1, 'mike'], [1, 'bob']]`",
    "[1, 2, 3]", "(1, 4)", "{'a': 1}", "df.iloc[0]", "os.path.join(a, b)", "foo()", "list.clear()", "random.choice",
    ".csv", "JSON", "my_variable", "DataFrame", "utf-8", "3.14", "10", "2d", "x[1:]", "a+b", "<div>",
    "https://example.org/list?a=1", "/usr/lib/element.txt", "C:\\dict", "%Y-%m-%d", "C++", "$1", "u'using'",
    "“the given element”", "*args", "a=1", ">=", "@property", "v1.2.3", "i.e.",
]  # fmt: skip
PATTERNS = [
    "sort {} by the first element of {}",
    "How to remove each element {} from dictionary {}?",
    "Convert {} to {} using regex in python",
    "python: get the index of {} in {}",
    "Is there a way to use {} instead of {}?",
    "Return the given dictionary {} , or {} if it is empty .",
    "{} fails when using {} in pandas",
    "check if {} contains {}",
    "What is the difference between {} and {}",
    "list all items {} and {} based on the folder",
]


@pytest.fixture(scope="module")
def engine():
    return RulesEngine(Setting(seed=3))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_literals_are_kept_with_their_counts(engine, pattern):
    chooser = random.Random(pattern)
    reworded = 0
    for _ in range(40):
        chosen = chooser.sample(LITERALS, 2)
        (text,) = engine.rewrite([pattern.format(*chosen)])
        if text is not None:
            reworded += 1
            for literal in chosen:
                assert text.count(literal) == pattern.format(*chosen).count(literal), (chosen, text)
    assert reworded >= 36


def test_spans_are_masked_by_one_character_each():
    masking = Masking(["python", "google app engine"], frozenset({"sort", "true"}))
    text = (
        "Sort `a b` and then 'c' with DataFrame in Python 2.7 or Google App Engine when somebody named Bob wants, True"
    )
    masked = masking.mask(text)
    assert re.fullmatch(
        f"Sort {QUOTED} and then {QUOTED} with . in {TOPIC} or {TOPIC} when somebody named . wants, True", masked.text
    )
    assert Counter(masked.spans.values()) == Counter(
        ["`a b`", "'c'", "DataFrame", "Python 2.7", "Google App Engine", "Bob"]
    )
    assert masked.restore(masked.text) == text


def test_a_lost_and_a_repeated_span_are_noticed():
    masked = Masking(["python"], frozenset()).mask("sort `a` in python")
    first, second = re.findall(MASKED, masked.text)
    assert masked.is_kept(f"{second}: sort {first}")
    assert not masked.is_kept(f"sort {first}")
    assert not masked.is_kept(f"{first} {first} {second}")


def test_an_apostrophe_opens_no_quotation():
    masking = Masking(["python"], frozenset())
    for text in ("the list's element isn't in the users' lists", "don't sort the class's items or the classes' keys"):
        assert masking.mask(text).text == text


def test_words_that_are_all_capitalised_are_no_names():
    masking = Masking(["python"], frozenset({"how"}))
    assert masking.mask("Sorting The Values Of A Dictionary").spans == {}
    assert list(masking.mask("sorting the values of a Counter object").spans.values()) == ["Counter"]


def test_characters_that_mask_are_masked_themselves(engine):
    (text,) = engine.rewrite(["how to sort the list of \ue000 elements in \uf005?"])
    assert text is not None
    assert text.count("\ue000") == text.count("\uf005") == 1

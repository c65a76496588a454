"""What is known here about English."""

import pytest

from clmeeval_data.english import foreign, has_function_word, stem


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "converts", "converted", "converting", "converter"),
        ("remove", "removes", "removed", "removing"),
        ("query", "queries"),
        ("file", "files"),
    ],
)
def test_forms_of_a_word_have_one_stem(words):
    assert len({stem(word) for word in words}) == 1


def test_stems_are_not_too_short():
    assert [stem(word) for word in ("is", "the", "des", "ring", "sing")] == ["is", "the", "des", "ring", "sing"]


def test_function_words():
    assert has_function_word("The area")
    assert not has_function_word("Compute area")


def test_quoted_parts_say_nothing_about_the_language():
    assert foreign("translate 'el perro y la gata' or `der und die`", 0.9) is None
    assert foreign("print 'é' and 'ü'", 1.0) is None


def test_a_share_of_0_lets_every_alphabet_pass():
    assert foreign("по имени", 0.0) is None
    assert foreign("по имени", 0.1) == "not English: its letters"
    assert foreign("", 1.0) is None

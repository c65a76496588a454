"""Filters of intents: titles of questions and sentences, by the reason that each is given."""

from dataclasses import replace

import pytest

from clmeeval_data.builders.filters import language, request, specific, whole
from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import Provenance

PLACE = Provenance("s", "o", "g", "MIT")


def intent(prompt):
    return Pair(prompt, "a.sort()", "", None, PLACE)


@pytest.mark.parametrize(
    "prompt",
    [
        "How to sort a list of dicts by a key in Python?",
        "pandas groupby transform mean",
        "Escaping the é of a file name",
        "print 'el perro y la gata' to the console",
        "do I use os.path.join on tar.gz files",
        "Draw triangle with points x0, y0 - x1, y1",
    ],
)
def test_english_and_what_may_be_english_stays(prompt):
    assert language(intent(prompt), 0.9) is None


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("как отсортировать список словарей в python", "not English: its letters"),
        ("如何在 python 中对字典列表进行排序", "not English: its letters"),
        ("Wie kann man eine Liste sortieren und filtern?", "not English: its words"),
        ("cómo ordenar una lista por el valor de la clave", "not English: its words"),
        ("Trier une liste dans un ordre donné avec Python", "not English: its words"),
    ],
)
def test_other_languages_go(prompt, reason):
    assert language(intent(prompt), 0.9) == reason


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("Open the file `name` (for reading).", None),
        ("Like find(), but raise ValueError when `sub` is not found.", None),
        ("How to split a string at the first a", None),
        ("Construct a network. `address` can be one of the following:", "breaks off"),
        ("The path of a cookie, e.g.", "breaks off"),
        ("Open the file (for reading", "breaks off"),
        ("Copy a file to the", "breaks off"),
        ("Same as compile(), for files.", "points at another text"),
        ("This function is deprecated.", "points at another text"),
        ("These constants stand for the types of sockets.", "points at another text"),
    ],
)
def test_whole(prompt, reason):
    assert whole(intent(prompt)) == reason


@pytest.mark.parametrize(
    "prompt",
    [
        "How to sort a list of dicts by a key?",
        "What is the best way to sort a list of dicts?",
        "what's the easiest way to print selected values",
        "Is there a way to sort a dict by value?",
        "Is it possible to sort a dict in place?",
        "Can I sort a dict by value?",
        "How does one sort a dict by value?",
        "How many times does a word occur in a text",
        "Python equivalent of perl's qw",
        "do a left merge of two data frames",
        "Get the difference between two lists",
        "catch an exception and print its message",
        "Python: handle an error of the parser",
        "How do I ignore missing keys without an exception",
        "fill missing values in column 'a'",
        "select the rows that don't contain 'a'",
        "create a file if it does not exist",
        "check if an exception was raised",
        "count the odd numbers in a list",
        "Return the error message, or None if the operation did not fail.",
    ],
)
def test_requests_stay(prompt):
    assert request(intent(prompt)) is None


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("Why does a list comprehension leak its variable?", "asks for an explanation"),
        ("Python: why is this loop so slow", "asks for an explanation"),
        ("What is the difference between a list and a tuple?", "asks for an explanation"),
        ("What does the yield keyword do", "asks for an explanation"),
        ("Should I use a list or a tuple?", "asks for an explanation"),
        ("Is a list faster than a tuple?", "asks for an explanation"),
        ("How does the garbage collector work", "asks for an explanation"),
        ("urllib vs requests", "asks for an explanation"),
        ("Best practices for Django models", "asks for an explanation"),
        ("I don't understand the k-means algorithm", "asks for an explanation"),
        ("My for loop doesn't work", "reports a fault"),
        ("ImportError: No module named numpy", "reports a fault"),
        ("Unable to install lxml", "reports a fault"),
        ("Getting a TypeError while joining strings", "reports a fault"),
        ("How to fix UnicodeDecodeError in Django?", "reports a fault"),
        ("Strange output of a nested loop", "reports a fault"),
        ("Django form not saving", "reports a fault"),
        ("Problem with regular expressions", "reports a fault"),
        ("downloading archives response corrupts files", "reports a fault"),
        ("Binary Search in Python, infinite loop?", "reports a fault"),
        ("Python regex only returns the first group", "reports a fault"),
        ("Sqlalchemy Sqlite Autoincrement not behaving as expected", "reports a fault"),
        ("Python: Serving files, All carriage returns lost in text file", "reports a fault"),
        ("Abstracting canvas methods causes elements to be drawn on their own pages?", "reports a fault"),
        ("Tick format changes after zoom", "reports a fault"),
        ("Split a string ignoring empty parts", None),
        ("How to always return a list", None),
    ],
)
def test_questions_that_code_cannot_answer_go(prompt, reason):
    assert request(intent(prompt)) == reason


def test_a_wording_that_came_with_another_one_is_no_title():
    reported = intent("throw an error with message 'no such file'")
    assert request(reported) == "reports a fault"
    assert request(replace(reported, rephrasing="How do I throw an error?")) is None


@pytest.mark.parametrize(
    ("prompt", "least", "reason"),
    [
        ("How do I do this in Python?", 1, "too few content words"),
        ("sort it in Python", 1, None),
        ("sort it in Python", 2, "too few content words"),
        ("use readLines of a file", 3, None),
    ],
)
def test_specific(prompt, least, reason):
    assert specific(intent(prompt), least) == reason

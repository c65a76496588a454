"""Filters of functions and their descriptions that a recipe may ask for."""

import pytest

from clmeeval_data.builders.filters import described_in, machinery, repeating_text, summary
from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import Provenance

PLACE = Provenance("s", "o", "g", "MIT")
CODE = "def area(width, height):\n    result = width * height\n    return result"


def function(description="Return the area of a rectangle.", code=CODE, name="area"):
    return Pair(code, description, name, None, PLACE)


@pytest.mark.parametrize(
    "description",
    [
        "Return the area of a rectangle.",
        "Outputs a list of all plugins.",
        "If n is odd, return its double.",
        "For each element, determine if it is missing.",
        "This function creates rank columns.",
        "Given a URI, returns an adapter instance.",
        "A decorator that caches results.",
        "The index of the first mesh of this row.",
        "Decorator to mark a function.",
        "Convert a USA state to its abbreviation.",
        "Returns the 'name' of the file.",
    ],
)
def test_summaries_stay(description):
    assert summary(function(description)) is None


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("If true, handle uncompressed data.", "a remark"),
        ("We use the packer to make a package.", "a remark"),
        ("When the with statement ends.", "a remark"),
        ("It's always OK to include these headers.", "a remark"),
        ("Reimplemented to paint the background panel.", "a remark"),
        ("Images must be either 2D or 3D.", "a remark"),
        ("The password is used to encrypt the master password.", "a remark"),
        ("All launchers should call this method.", "a remark"),
        ("To support weak referencing, removes a key.", "a remark"),
        ("Feed output to the next command Returns string output.", "more than a sentence"),
        ("Is this path a package directory?", "more than a sentence"),
        ("Add a case to the database If the case exists it is replaced.", "more than a sentence"),
        ("r'''Return the area of it.", "a quote left over"),
        ('"Return the area of it.', "a quote left over"),
        ("Args: img (Image): Image to be padded.", "a signature"),
        ("run_command uses subprocess to run a command.", "a signature"),
        ("sys.out replacer, by default with stderr.", "a signature"),
    ],
)
def test_remarks_and_remains_go(description, reason):
    assert summary(function(description)) == reason


def test_descriptions_in_another_language_go():
    assert described_in(function("Se asegura de que un directorio exista."), 0.9) == "not English: its words"
    assert described_in(function("Returns the área of it."), 0.9) is None
    assert described_in(function("返回矩形的面积."), 0.9) == "not English: its letters"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("area", None),
        ("Shape.test", "a test"),
        ("test_area", "a test"),
        ("testArea", "a test"),
        ("Suite.setUpClass", "a test"),
        ("testify", None),
        ("tester", None),
        ("Shape.__init__", "a special method"),
        ("__private", None),
    ],
)
def test_machinery(name, reason):
    assert machinery(function(name=name)) == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("result = width * height", None),
        ("log('Multiply both sides')", None),
        ("# the product of both sides", None),
        ("'Return the area of a rectangle'", "a docstring is left"),
        ("print('')\n    'Return the area of a rectangle'", "a text in the code repeats the description"),
        ("log('return the AREA of a rectangle!')", "a text in the code repeats the description"),
        ("log('Return the areas of rectangles')", "a text in the code repeats the description"),
        ("# Returns the area of the rectangle", "a text in the code repeats the description"),
        ("# First return the area of a rectangle, then stop", "a text in the code repeats the description"),
    ],
)
def test_repeating_text(body, reason):
    code = f"def area(width, height):\n    {body}\n    return width * height"
    assert repeating_text(function(code=code), 80.0) == reason


def test_the_docstring_of_an_inner_function_is_left():
    code = "def area(w, h):\n    def inner():\n        '''Multiply.'''\n        return w * h\n    return inner"
    assert repeating_text(function(code=code), 80.0) == "a docstring is left"

"""Filters of functions: whole, quiet about their description, and neither tests nor stubs."""

import ast
import re
import warnings

from rapidfuzz import fuzz

from clmeeval_data import syntax
from clmeeval_data.builders.filters.leak import folded
from clmeeval_data.builders.sources import Pair

_EMPTY_BODY = re.compile(r"^[^{]*\{\n(?:pass|\.\.\.|(?:raise|return) NotImplemented\w*(?: \(.*\))?)\n\}$", re.DOTALL)
_TEST = re.compile(
    r"test(?:_|s?$|[A-Z])|(?:setUp|tearDown)(?:Class|Module)?$|(?:setup|teardown)_(?:class|method|module)$"
)
_SPECIAL = re.compile(r"__\w+__$")


def repeating_comment(pair: Pair, similarity: float) -> str | None:
    """No comment in the code says what the description says."""
    description = folded(pair.target)
    comments = [folded(comment.lstrip("# ")) for comment in syntax.comments(pair.prompt)]
    together = " ".join(comments)
    if any(fuzz.ratio(comment, description) >= similarity for comment in [*comments, together]):
        return "a comment repeats the description"
    return "a comment repeats the description" if description.rstrip(".") in together else None


def repeating_text(pair: Pair, similarity: float) -> str | None:
    """No docstring is left in the code, and no string or comment in it says what the description says."""
    if syntax.strip_docstrings(pair.prompt) != pair.prompt:
        return "a docstring is left"
    description = _bare(pair.target)
    strings = [token for token in syntax.tokens(pair.prompt) if token[-1:] in ("'", '"')]
    texts = [_bare(text) for text in (*strings, *syntax.comments(pair.prompt))]
    if description in _bare(pair.prompt) or any(_repeats(text, description, similarity) for text in texts):
        return "a text in the code repeats the description"
    return None


def unparsable(pair: Pair, benchmark: str) -> str | None:
    """The code of the pair parses as Python 3 and, for a function, has a body that does something."""
    code = pair.prompt if benchmark == "csne" else pair.target
    if not syntax.parses(code):
        return "does not parse"
    return "no body" if benchmark == "csne" and _EMPTY_BODY.match(syntax.normalised(code)) else None


def uncompilable(pair: Pair, benchmark: str) -> str | None:
    """The running Python parses the code of the pair too; names and types are not looked at."""
    code = pair.prompt if benchmark == "csne" else pair.target
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "Python does not parse it"
    return None


def machinery(pair: Pair) -> str | None:
    """The function is neither a test nor a special method, whose descriptions say what all of their kind do."""
    name = pair.func_name.rpartition(".")[2]
    if _TEST.match(name):
        return "a test"
    return "a special method" if _SPECIAL.match(name) else None


def _repeats(text: str, description: str, similarity: float) -> bool:
    if fuzz.ratio(text, description) >= similarity:
        return True
    longest = 2 * len(description)  # a long text may hold the description among others
    return len(description) < len(text) <= longest and fuzz.partial_ratio(text, description) >= max(similarity, 90)


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))

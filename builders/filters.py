"""Filters: each takes a pair and gives the reason why it is dropped, or None to keep it.

A filter says one thing. Its thresholds come from the recipe.
"""

import re
from collections.abc import Callable
from functools import partial

from rapidfuzz import fuzz

from clmeeval_data import syntax
from clmeeval_data.builders.english import has_function_word
from clmeeval_data.builders.recipes import Recipe, Span
from clmeeval_data.builders.sources import Pair

Filter = Callable[[Pair], str | None]

# Openings of descriptions that say where a function belongs, or what to read instead, rather than what it does.
_BOILERPLATE = re.compile(
    r"^(?:see|same as|like|as above|ditto|internal|private|deprecated|obsolete|dummy|stub|helper|override[sn]?|"
    r"overridden|not implemented|unimplemented|undocumented|not documented|constructor|shorthand for|equivalent to|"
    r"initiali[sz]e(?:r|s)?(?: self| an? instance)?\.|implements? \w+(?:\.\w+)?\.$|test (?:program|case|suite|for)|"
    r"default (?:implementation|handler)|for (?:internal|backward)|hook|subclass(?:es)?|shortcut|alias|wrapper|"
    r"this (?:method|function|class) (?:is|was|will be|has been) (?:deprecated|called|used|here)|convenience|"
    r"return (?:repr|str|hash|len|iter|self\s*\W)|all callers|if you override|similar to|just like|"
    r"\w+ (?:version|variant) of|"
    r"(?:called|invoked|used|handler|callback) (?:when|by|for|from|if|after|before|on))(?!\w)",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"^[\w.]+\s*\(.*\)\s*(?:->|=>|[:=]|\.?$|--)|->|^\w\(\w+\)|^\w+\.\w+\(")
_RESIDUE = re.compile(
    r"^\W|>>>|::|:\w+:|`|\\\\|<[a-z/][^>]*>|https?://|@\w+|\b(?:TODO|XXX|FIXME)\b|[{}|]|--|==|\w \[\w"
)
_RUN_INTO_TITLE = re.compile(r"^[a-z].*[a-z\])] [A-Z][a-z]+ ")
_PLAIN_WORD = re.compile(r"\(?['\"]?[A-Za-z][a-z]*(?:[-'/][a-z]+)*['\"]?\)?[.,;:!?]?")
_EMPTY_BODY = re.compile(r"^[^{]*\{\n(?:pass|\.\.\.|(?:raise|return) NotImplemented\w*(?: \(.*\))?)\n\}$", re.DOTALL)


def for_recipe(recipe: Recipe) -> list[tuple[str, Filter]]:
    """The filters of a recipe with their names, in the order in which they run: cheap ones first."""
    shared: list[tuple[str, Filter]] = [
        ("length", partial(length, prompt=recipe.prompt_length, target=recipe.target_length)),
        ("words", partial(words, benchmark=recipe.benchmark, span=recipe.text_words)),
        ("leak", leak),
    ]
    if recipe.benchmark == "csne":
        shared += [
            ("docstring", boilerplate),
            ("docstring", broken_off),
            ("docstring", partial(prose, share=recipe.prose_share)),
            ("comment", partial(repeating_comment, similarity=recipe.comment_similarity)),
        ]
    return [*shared, ("syntax", partial(unparsable, benchmark=recipe.benchmark))]


def length(pair: Pair, prompt: Span, target: Span) -> str | None:
    """The prompt and the target have lengths, in characters, within the bounds."""
    if reason := prompt.outside(len(pair.prompt)):
        return f"prompt {reason}"
    if reason := target.outside(len(pair.target)):
        return f"target {reason}"
    return None


def words(pair: Pair, benchmark: str, span: Span) -> str | None:
    """The text of the pair, intent or description, has a number of words within the bounds."""
    reason = span.outside(len(_text(pair, benchmark).split()))
    return f"words {reason}" if reason else None


def leak(pair: Pair) -> str | None:
    """The prompt doesn't contain the answer, and neither does the rephrasing that came with the pair."""
    target = _folded(pair.target)
    if target in _folded(pair.prompt):
        return "the prompt contains the target"
    if pair.rephrasing is not None and target in _folded(pair.rephrasing):
        return "the rephrasing contains the target"
    return None


def boilerplate(pair: Pair) -> str | None:
    """The description says what this function does, rather than where it belongs or what to read instead."""
    if _SIGNATURE.search(pair.target):
        return "a signature"
    return "boilerplate" if _BOILERPLATE.match(pair.target) else None


def broken_off(pair: Pair) -> str | None:
    """The description is a whole sentence."""
    text = pair.target
    if not text.endswith((".", "!", "?")) or text.endswith(("...", " etc.", ":.", ",.")):
        return "breaks off"
    if _RUN_INTO_TITLE.search(text):
        return "a title run into the sentence"
    opened, closed = (sum(text.count(bracket) for bracket in kind) for kind in ("([", ")]"))
    return "breaks off in a bracket or quote" if opened != closed or text.count('"') % 2 else None


def prose(pair: Pair, share: float) -> str | None:
    """The description is English without markup: plain words for the most part, function words among them."""
    if _RESIDUE.search(pair.target) or not pair.target.isascii():
        return "markup or code in the description"
    found = pair.target.split()
    plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in found) / len(found)
    return None if plain == 1 or (plain >= share and has_function_word(pair.target)) else "not English prose"


def repeating_comment(pair: Pair, similarity: float) -> str | None:
    """No comment in the code says what the description says."""
    description = _folded(pair.target)
    comments = [_folded(comment.lstrip("# ")) for comment in syntax.comments(pair.prompt)]
    together = " ".join(comments)
    if any(fuzz.ratio(comment, description) >= similarity for comment in [*comments, together]):
        return "a comment repeats the description"
    return "a comment repeats the description" if description.rstrip(".") in together else None


def unparsable(pair: Pair, benchmark: str) -> str | None:
    """The code of the pair parses as Python 3 and, for a function, has a body that does something."""
    code = pair.prompt if benchmark == "csne" else pair.target
    if not syntax.parses(code):
        return "does not parse"
    return "no body" if benchmark == "csne" and _EMPTY_BODY.match(syntax.normalised(code)) else None


def _text(pair: Pair, benchmark: str) -> str:
    return pair.target if benchmark == "csne" else pair.prompt


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())

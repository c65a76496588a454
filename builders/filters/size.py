"""Filters by size: characters, words, tokens."""

from typing import TYPE_CHECKING

from clmeeval_data import syntax
from clmeeval_data.builders.sources import Pair

if TYPE_CHECKING:
    from clmeeval_data.builders.recipes import Span


def length(pair: Pair, prompt: "Span", target: "Span") -> str | None:
    """The prompt and the target have lengths, in characters, within the bounds."""
    if reason := prompt.outside(len(pair.prompt)):
        return f"prompt {reason}"
    if reason := target.outside(len(pair.target)):
        return f"target {reason}"
    return None


def words(pair: Pair, benchmark: str, span: "Span") -> str | None:
    """The text of the pair, intent or description, has a number of words within the bounds."""
    text = pair.target if benchmark == "csne" else pair.prompt
    reason = span.outside(len(text.split()))
    return f"words {reason}" if reason else None


def tokens(pair: Pair, benchmark: str, fewest: int, most: int) -> str | None:
    """The code of the pair, snippet or function, has ``fewest`` to ``most`` tokens; a ``most`` of 0 is no bound."""
    number = len(syntax.tokens(pair.prompt if benchmark == "csne" else pair.target))
    if number < fewest:
        return "too few tokens"
    return "too many tokens" if 0 < most < number else None

"""Why a rephrasing is refused: each check gives its reason, or None."""

from dataclasses import dataclass

from rapidfuzz import fuzz

from clmeeval_data import syntax


@dataclass(frozen=True)
class Bounds:
    """How far a rephrasing may and must be from its prompt.

    Args:
        code: Whether prompts are Python code, which has to parse.
        most_similar: The largest allowed similarity of prompt and rephrasing, 0 to 100, by rapidfuzz's plain ratio on
            the folded text; 100 allows all but the same text.
        shortest: The least length of a rephrasing, as a share of its prompt's.
        longest: The largest length of a rephrasing, as a share of its prompt's.
    """

    code: bool
    most_similar: float
    shortest: float
    longest: float


def refusal(prompt: str, rephrased: str, target: str, bounds: Bounds) -> str | None:
    """The first reason why this rephrasing of the prompt can't be used, or None."""
    one, other = _folded(prompt), _folded(rephrased)
    if not other:
        return "empty"
    if other == one:
        return "the same text"
    if _folded(target) in other:
        return "contains the target"
    if bounds.code and not syntax.parses(rephrased):
        return "does not parse"
    if not bounds.shortest <= len(other) / max(len(one), 1) <= bounds.longest:
        return "too short or too long"
    return "too close" if fuzz.ratio(one, other) > bounds.most_similar else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".?! ")

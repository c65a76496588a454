"""The filter against prompts that give the answer away."""

from clmeeval_data.builders.sources import Pair


def leak(pair: Pair) -> str | None:
    """The prompt doesn't contain the answer, and neither does the rephrasing that came with the pair."""
    target = folded(pair.target)
    if target in folded(pair.prompt):
        return "the prompt contains the target"
    if pair.rephrasing is not None and target in folded(pair.rephrasing):
        return "the rephrasing contains the target"
    return None


def folded(text: str) -> str:
    """A text without the differences that don't count: upper case and runs of white space."""
    return " ".join(text.casefold().split())

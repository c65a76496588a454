"""The benchmarks as values: every threshold that decides what is in a dataset."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clmeeval_data.errors import UnknownNameError
from clmeeval_data.paraphrase.checks import Bounds


@dataclass(frozen=True)
class Span:
    """From ``least`` to ``most``, both included."""

    least: int
    most: int

    def outside(self, number: int) -> str | None:
        """Why a number lies outside: "too short" or "too long"; None where it does not."""
        if number < self.least:
            return "too short"
        return "too long" if number > self.most else None


@dataclass(frozen=True)
class Locality:
    """How neighbours are chosen: close in wording, different in meaning.

    Args:
        count: Neighbours per case.
        scorer: How close two prompts are, 0 to 100: a key of ``locality.SCORERS``.
        closest_answer: Two answers with a larger similarity than this, 0 to 100 by rapidfuzz's plain ratio of the
            texts, are taken for the same answer; at 100 only those that are equal when normalised.
    """

    count: int
    scorer: Literal["words", "tokens"]
    closest_answer: float


@dataclass(frozen=True)
class Recipe:
    """One dataset: which benchmark, from what, by which rules.

    Args:
        name: The recipe's name, written into the manifest.
        benchmark: "cnle" or "csne".
        source: The source that is read unless the user names another.
        engines: Paraphrase engines in the order of preference.
        prompt_length: Of the prompt, in characters.
        target_length: Of the target, in characters.
        text_words: Of the intent or the description, in words.
        prose_share: The least share of plain words in a description (CSNE).
        comment_similarity: From this similarity on (0 to 100) a comment repeats the description (CSNE).
        bounds: What a rephrasing must satisfy.
        locality: How neighbours are chosen.
        splits: The share of groups in each split; they add up to 1.
        limits: What the dataset is not good for, one sentence each, for its card.
    """

    name: str
    benchmark: Literal["cnle", "csne"]
    source: str
    engines: tuple[str, ...]
    prompt_length: Span
    target_length: Span
    text_words: Span
    prose_share: float
    comment_similarity: float
    bounds: Bounds
    locality: Locality
    splits: Mapping[str, float]
    limits: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All values as JSON values, for the manifest."""
        return asdict(self)


CNLE_SAMPLE = Recipe(
    name="cnle-sample",
    benchmark="cnle",
    source="sample",
    engines=("human",),
    prompt_length=Span(10, 300),
    target_length=Span(3, 400),
    text_words=Span(3, 50),
    prose_share=0.0,
    comment_similarity=100.0,
    bounds=Bounds(code=False, most_similar=95.0, shortest=0.4, longest=2.5),
    locality=Locality(count=3, scorer="words", closest_answer=100.0),
    splits={"train": 0.35, "validation": 0.15, "test": 0.5},
    limits=(
        "A sample written by hand for trying things out, not the published CNLE benchmark.",
        "Snippets use the standard library alone and were not taken from Stack Overflow or CoNaLa.",
    ),
)
CSNE_SAMPLE = Recipe(
    name="csne-sample",
    benchmark="csne",
    source="stdlib",
    engines=("rename",),
    prompt_length=Span(120, 900),
    target_length=Span(15, 200),
    text_words=Span(4, 25),
    prose_share=0.7,
    comment_similarity=75.0,
    bounds=Bounds(code=True, most_similar=100.0, shortest=0.5, longest=2.0),
    locality=Locality(count=3, scorer="tokens", closest_answer=95.0),
    splits={"train": 0.35, "validation": 0.15, "test": 0.5},
    limits=(
        "A sample from the standard library of one Python version, not the published CSNE benchmark.",
        "Models of code have very likely seen these functions in training.",
        "The rephrased function differs in the names of its local variables alone.",
    ),
)
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (CNLE_SAMPLE, CSNE_SAMPLE)}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in RECIPES:
        raise UnknownNameError(f"unknown recipe {name!r}. Known: {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]

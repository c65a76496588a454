"""The benchmarks as values: every threshold that decides what is in a dataset."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from clmeeval_data.builders.dedup import Dedup
from clmeeval_data.builders.filters.rules import DescriptionRules, FunctionRules, IntentRules, Rules, SnippetRules
from clmeeval_data.errors import ConfigError, UnknownNameError
from clmeeval_data.paraphrase.checks import Bounds
from clmeeval_data.records import SPLITS


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

    Two pairs mean the same when any of the margins says so. A neighbour means something else than its case, and than
    the other neighbours.

    Args:
        count: Neighbours per case.
        scorer: How close two prompts are, 0 to 100: a key of ``closest.SCORERS``.
        closest_answer: Two answers with a larger similarity than this, 0 to 100 by rapidfuzz's plain ratio of the
            texts without case and layout, are the same answer; at 100 only those that are equal.
        closest_wording: Two texts (intents, or descriptions) say the same when one has all content words of the other
            in the same order, and their similarity is larger than this, 0 to 100 by the plain ratio of their sequences
            of content words without endings; at 100 none do.
        tree_margin: Two codes (snippets, or functions) whose syntax trees differ by less than this are the same, in
            percent: 100 minus the plain ratio of the leaves of their normalised trees, variables left out, in order; at
            0 only those with equal normalised trees.
    """

    count: int
    scorer: Literal["words", "tokens"]
    closest_answer: float
    closest_wording: float = 85.0
    tree_margin: float = 25.0


@dataclass(frozen=True)
class Recipe:
    """One dataset: which benchmark, from what, by which rules.

    Args:
        name: The recipe's name, written into the manifest.
        benchmark: "cnle" or "csne".
        sources: The sources that are read unless the user names others, the best first.
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
        rules: What is asked of pairs beyond size, syntax and leaks.
        dedup: What counts as a duplicate, besides an equal prompt.
        prob: The least probability of a mined pair, 0 to 1 (conala-mined).
        judge: The least score, 0 to 1, that a judge gives a pair: a chat model where there is one, or else the share of
            the text's content words that the code takes up. 0: nobody judges.
        strength: How many kinds of rewriting the engine syntax gives one function at most.

    Raises:
        ConfigError: If the shares of the splits don't add up to 1, or one of them or the score is none.
    """

    name: str
    benchmark: Literal["cnle", "csne"]
    sources: tuple[str, ...]
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
    rules: Rules = field(default_factory=Rules)
    dedup: Dedup = field(default_factory=Dedup)
    prob: float = 0.0
    judge: float = 0.0
    strength: int = 3

    def __post_init__(self) -> None:
        if (
            set(self.splits) != set(SPLITS)
            or min(self.splits.values()) <= 0
            or abs(sum(self.splits.values()) - 1) > 1e-6
        ):
            raise ConfigError(
                f"splits {dict(self.splits)} are not three shares. "
                f"Expected {', '.join(SPLITS)}, each above 0, that add up to 1."
            )
        if not 0 <= self.judge <= 1:
            raise ConfigError(f"judge={self.judge} is no score. Expected a number from 0, which is off, to 1.")

    def as_dict(self) -> dict[str, Any]:
        """All values as JSON values, for the manifest."""
        return asdict(self)


CNLE_SAMPLE = Recipe(
    name="cnle-sample",
    benchmark="cnle",
    sources=("sample",),
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
    sources=("stdlib",),
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
CNLE = Recipe(
    name="cnle",
    benchmark="cnle",
    sources=("conala-curated", "conala-mined"),
    engines=("human", "rules"),
    prompt_length=Span(12, 500),
    target_length=Span(4, 500),
    text_words=Span(3, 80),
    prose_share=0.0,
    comment_similarity=100.0,
    bounds=Bounds(code=False, most_similar=95.0, shortest=0.4, longest=2.5),
    locality=Locality(count=3, scorer="words", closest_answer=100.0),
    splits={"train": 0.7, "validation": 0.1, "test": 0.2},
    limits=(
        "Intents that were not annotated are titles of questions, and some say less than their snippets do.",
        "Models of code have very likely seen these questions and answers in training.",
    ),
    rules=Rules(
        compiler=True,
        intents=IntentRules(ascii_share=0.9, whole=True, requests=True, content_words=1),
        snippets=SnippetRules(
            code=True, statements=True, complete=True, most_tokens=150, shared_words=1, shared_by_name=2
        ),
    ),
    dedup=Dedup(wording=True, near_text=80.0),
    prob=0.5,
)
CSNE = Recipe(
    name="csne",
    benchmark="csne",
    sources=("codesearchnet",),
    engines=("syntax", "rename"),
    prompt_length=Span(60, 1800),
    target_length=Span(15, 200),
    text_words=Span(4, 30),
    prose_share=0.6,
    comment_similarity=75.0,
    bounds=Bounds(code=True, most_similar=100.0, shortest=0.5, longest=2.0),
    locality=Locality(count=3, scorer="words", closest_answer=95.0, tree_margin=10.0),
    splits={"train": 0.7, "validation": 0.1, "test": 0.2},
    limits=(
        "A description is the first sentence of a docstring, and says as much as its author thought fit.",
        "Models of code have very likely seen these functions in training.",
    ),
    rules=Rules(
        compiler=True,
        descriptions=DescriptionRules(ascii_share=0.9, summary=True, shared_words=1),
        functions=FunctionRules(silent=True, repeating_text=80.0, library=True, fewest_tokens=28, most_tokens=400),
    ),
    dedup=Dedup(near_text=85.0, near_code=80.0),
)
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (CNLE_SAMPLE, CSNE_SAMPLE, CNLE, CSNE)}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in RECIPES:
        raise UnknownNameError(f"unknown recipe {name!r}. Known: {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]

"""Judges: does this code do what this intent says, does this sentence describe this function?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from clmeeval_data.builders.filters.lexical import content, shared_words
from clmeeval_data.builders.sources import Pair
from clmeeval_data.paraphrase.enclosure import NOTE, enclosed
from clmeeval_data.paraphrase.engine import later_seed

if TYPE_CHECKING:
    from clmeeval_data.llm import ChatModel, ChatReply, ChatRequest

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"score": {"type": "number", "minimum": 0, "maximum": 1}, "reason": {"type": "string"}},
    "required": ["score", "reason"],
    "additionalProperties": False,
}

_VERSION = "1"  # of the questions
_ATTEMPTS = 3
_LONGEST_REASON = 300  # characters
_QUESTIONS = {
    "cnle": "You judge pairs of a request and a Python snippet: does this code do what this request says?",
    "csne": "You judge pairs of a sentence and a Python function: does this sentence describe this function?",
}
_SCALE = (
    "Give a score from 0 to 1: 1 where it does so fully and correctly, 0.5 where it does so in part, 0 where it does "
    "not. Judge the meaning and not the style, and take names that are not defined to be defined elsewhere.",
    NOTE,
    'Answer with one JSON object that has the fields "score" and "reason", one short sentence, without anything before '
    'or after it. Example: {"score": 0.5, "reason": "It sorts the list, but not in descending order."}',
)


@dataclass(frozen=True)
class Judgement:
    """How well the text and the code of a pair fit.

    Args:
        score: From 0, not at all, to 1, fully.
        reason: Why, in one sentence; a model's own words where a model judged.
        by: Who says so: "lexical", or "llm" with the model's name.
    """

    score: float
    reason: str
    by: str


class Judge(Protocol):
    """Something that judges pairs."""

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement per pair, in the same order."""


class LexicalJudge:
    """The offline stand-in: the share of the text's content words that the code takes up.

    It sees that a text and a code speak of other things. It can't see that a code is wrong.

    Args:
        benchmark: "cnle" or "csne".
    """

    name = "lexical"

    def __init__(self, benchmark: str) -> None:
        self._benchmark = benchmark

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement per pair; a text without content words scores 0."""
        return [self._judged(pair) for pair in pairs]

    def _judged(self, pair: Pair) -> Judgement:
        text, code = _sides(pair, self._benchmark)
        words, shared = content(text), shared_words(text, code)
        score = len(shared) / len(words) if words else 0.0
        return Judgement(score, f"the code takes up {len(shared)} of {len(words)} content words", self.name)


class LlmJudge:
    """Asks a chat model.

    The texts are data. A reply that isn't a score from 0 to 1 with a reason is refused, whatever it says, and asked for
    again with another seed; where no attempt gives one, the score is 0 and the reason says so.

    Args:
        chat: The model.
        benchmark: "cnle" or "csne".
        seed: Of the requests.
    """

    name = "llm"

    def __init__(self, chat: "ChatModel", benchmark: str, seed: int = 0) -> None:
        self._chat = chat
        self._benchmark = benchmark
        self._seed = seed
        self._by = f"{self.name} {chat.model}"

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """One judgement per pair.

        Raises:
            ChatError: If the model can't be asked, or the budget is spent.
        """
        found = [Judgement(0.0, "", self._by) for _ in pairs]
        waiting = list(range(len(pairs)))
        for attempt in range(_ATTEMPTS):
            if not waiting:
                break
            replies = self._chat.complete([self._request(pairs[place], attempt) for place in waiting])
            for place, reply in zip(waiting, replies, strict=True):
                found[place] = self._judgement(reply)
            waiting = [place for place, reply in zip(waiting, replies, strict=True) if _score(reply) is None]
        return found

    def _request(self, pair: Pair, attempt: int) -> "ChatRequest":
        from clmeeval_data.llm import ChatRequest

        text, code = _sides(pair, self._benchmark)
        labels = ("The request", "The snippet") if self._benchmark == "cnle" else ("The sentence", "The function")
        return ChatRequest(
            system="\n".join((_QUESTIONS[self._benchmark], *_SCALE)),
            user="\n\n".join((enclosed(labels[0], text), enclosed(labels[1], code))),
            schema=SCHEMA,
            seed=later_seed(self._seed, attempt) if attempt else self._seed,
            temperature=0.0 if attempt == 0 else 0.7,
            max_tokens=200,
            version=f"judge-{_VERSION}",
        )

    def _judgement(self, reply: "ChatReply") -> Judgement:
        score = _score(reply)
        if score is None or reply.value is None:
            flaw = reply.flaw.partition(":")[0] or "no score from 0 to 1 with a reason"
            return Judgement(0.0, f"no judgement in {_ATTEMPTS} replies: {flaw}", self._by)
        return Judgement(score, " ".join(reply.value["reason"].split())[:_LONGEST_REASON], self._by)


def _score(reply: "ChatReply") -> float | None:
    """The score of a reply that is a judgement; None for any other."""
    value = reply.value
    if value is None or set(value) != {"score", "reason"} or not isinstance(value["reason"], str):
        return None
    score = value["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return None
    return float(score) if 0 <= score <= 1 else None


def _sides(pair: Pair, benchmark: str) -> tuple[str, str]:
    """The text and the code of a pair."""
    return (pair.prompt, pair.target) if benchmark == "cnle" else (pair.target, pair.prompt)

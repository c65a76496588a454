"""What an engine is, which engines there are, and how several of them share the work."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from clmeeval_data.records import Rephrasing
from clmeeval_data.registry import Registry

if TYPE_CHECKING:
    from clmeeval_data.llm import ChatModel

NO_REWORDING = "no rewording"

Check = Callable[[str, str, str], str | None]
"""Given a prompt, its wording and the name of the engine: the reason why the wording is refused, or None."""


class Engine(Protocol):
    """Something that words prompts anew.

    ``version`` changes whenever the same prompt may come out differently; ``model`` is the language model behind the
    engine, "" where there is none.
    """

    name: str
    version: str
    model: str

    def rewrite(self, prompts: Sequence[str]) -> list[str | None]:
        """Another wording of each prompt, in the same order; None where the engine has none."""


@runtime_checkable
class Explaining(Protocol):
    """An engine that can say why it had no wording."""

    def flaw(self, prompt: str) -> str:
        """Why the last ``rewrite`` gave None for this prompt."""


@dataclass(frozen=True)
class Setting:
    """What engines are made from; each takes what it needs.

    Args:
        seed: For engines that choose among several wordings.
        written: Wordings that came with the raw data, by prompt.
        code: Whether the prompts are functions rather than intents (llm).
        chat: The language model of the engine llm; None where there is none.
        strength: How many kinds of rewriting one function gets at most (syntax).
    """

    seed: int = 0
    written: Mapping[str, str] = field(default_factory=dict)
    code: bool = False
    chat: "ChatModel | None" = None
    strength: int = 3

    def at(self, attempt: int) -> "Setting":
        """The setting for an attempt: the first one, 0, has the seed itself, each later one a seed made from it."""
        return self if attempt == 0 else replace(self, seed=later_seed(self.seed, attempt))


ENGINES: Registry[Callable[[Setting], Engine]] = Registry(
    "engine",
    {
        "human": "clmeeval_data.paraphrase.human:HumanEngine",
        "llm": "clmeeval_data.paraphrase.llm_engine:LlmEngine",
        "rename": "clmeeval_data.paraphrase.rename:RenameEngine",
        "rules": "clmeeval_data.paraphrase.rules.engine:RulesEngine",
        "syntax": "clmeeval_data.paraphrase.syntax_engine:SyntaxEngine",
    },
)
UNPROVEN = frozenset({"llm"})
"""Engines of which nobody knows that a function means the same afterwards."""

_ATTEMPTS: Mapping[str, int] = {"llm": 3, "rules": 2, "syntax": 2}  # others have one wording, whatever the seed


def later_seed(seed: int, attempt: int) -> int:
    """The seed of a later attempt: 31 bits that depend on the seed and the attempt's number alone."""
    digest = hashlib.sha256(f"{seed}\x1f{attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def in_turn(names: Sequence[str], setting: Setting) -> list[Engine]:
    """The engines of these names, in their order; each as many times, with other seeds, as it may try.

    Raises:
        UnknownNameError: If there is no such engine.
        ConfigError: If an engine lacks what it needs, such as a language model.
    """
    return [ENGINES[name](setting.at(attempt)) for name in names for attempt in range(_ATTEMPTS.get(name, 1))]


@dataclass(frozen=True)
class Rephrased:
    """What came of one prompt: a wording that passed the check and how it was made, or the reasons why there is none.

    ``refusals`` names each engine that failed with its reason, once where several attempts failed for the same one.
    """

    text: str | None
    rephrasing: Rephrasing | None
    refusals: tuple[str, ...]


def rephrase(prompts: Sequence[str], engines: Sequence[Engine], check: Check) -> list[Rephrased]:
    """Word each prompt anew by the first engine whose wording passes the check.

    Args:
        prompts: The prompts.
        engines: In the order in which they are tried, see ``in_turn``; a later one only sees the prompts that all
            earlier ones failed, and is not asked where there are none.
        check: Says why a wording is refused.

    Returns:
        One result per prompt, in the same order.
    """
    results = [Rephrased(None, None, ()) for _ in prompts]
    for engine in engines:
        waiting = [index for index, result in enumerate(results) if result.text is None]
        if not waiting:
            break
        made = Rephrasing(engine=engine.name, model=engine.model, version=engine.version)
        for index, text in zip(waiting, engine.rewrite([prompts[index] for index in waiting]), strict=True):
            prompt, earlier = prompts[index], results[index].refusals
            reason = _flaw(engine, prompt) if text is None else check(prompt, text, engine.name)
            if reason is None:
                results[index] = Rephrased(text, made, earlier)
            else:
                results[index] = Rephrased(None, None, tuple(dict.fromkeys((*earlier, f"{engine.name}: {reason}"))))
    return results


def _flaw(engine: Engine, prompt: str) -> str:
    return engine.flaw(prompt) if isinstance(engine, Explaining) else NO_REWORDING

"""What an engine is, which engines there are, and how several of them share the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from clmeeval_data.records import Rephrasing
from clmeeval_data.registry import Registry


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


@dataclass(frozen=True)
class Setting:
    """What engines are made from; each takes what it needs.

    Args:
        seed: For engines that choose among several wordings.
        written: Wordings that came with the raw data, by prompt.
    """

    seed: int = 0
    written: Mapping[str, str] = field(default_factory=dict)


ENGINES: Registry[Callable[[Setting], Engine]] = Registry(
    "engine",
    {
        "human": "clmeeval_data.paraphrase.human:HumanEngine",
        "rename": "clmeeval_data.paraphrase.rename:RenameEngine",
        "rules": "clmeeval_data.paraphrase.rules.engine:RulesEngine",
        "syntax": "clmeeval_data.paraphrase.syntax_engine:SyntaxEngine",
    },
)


@dataclass(frozen=True)
class Rephrased:
    """What came of one prompt: a wording that passed the check and how it was made, or the reasons why there is none.

    ``refusals`` holds one line per engine that was tried and failed: its name and the reason.
    """

    text: str | None
    rephrasing: Rephrasing | None
    refusals: tuple[str, ...]


def rephrase(
    prompts: Sequence[str], engines: Sequence[Engine], check: Callable[[str, str], str | None]
) -> list[Rephrased]:
    """Word each prompt anew by the first engine whose wording passes the check.

    Args:
        prompts: The prompts.
        engines: In the order of preference; a later one only sees the prompts that all earlier ones failed.
        check: Given a prompt and its wording, the reason why the wording is refused, or None.

    Returns:
        One result per prompt, in the same order.
    """
    results = [Rephrased(None, None, ()) for _ in prompts]
    for engine in engines:
        waiting = [index for index, result in enumerate(results) if result.text is None]
        made = Rephrasing(engine=engine.name, model=engine.model, version=engine.version)
        for index, text in zip(waiting, engine.rewrite([prompts[index] for index in waiting]), strict=True):
            reason = "no rewording" if text is None else check(prompts[index], text)
            if reason is None:
                results[index] = Rephrased(text, made, results[index].refusals)
            else:
                refusals = (*results[index].refusals, f"{engine.name}: {reason}")
                results[index] = Rephrased(None, None, refusals)
    return results

"""Rewordings that pass all checks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from clmeeval_data.paraphrase.checks import Bounds, other_results, refusal
from clmeeval_data.paraphrase.engine import UNPROVEN, Engine, Rephrased, rephrase


def rephrase_checked(targets: Mapping[str, str], engines: Sequence[Engine], bounds: Bounds) -> list[Rephrased]:
    """Word prompts anew by the first engine whose wording passes all checks.

    Args:
        targets: The answer to each prompt, by prompt.
        engines: In the order in which they are tried.
        bounds: What a rewording must satisfy. Functions are run only where ``runs`` asks for it, and an engine that
            isn't proven has worded them.

    Returns:
        One result per prompt, in their order.

    Raises:
        ConfigError: If functions have to be run, and the system can't do that safely.
    """
    with _comparing(bounds, engines) as compare:

        def check(prompt: str, text: str, engine: str) -> str | None:
            reason = refusal(prompt, text, targets[prompt], bounds)
            if reason is None and compare is not None and engine in UNPROVEN:
                return other_results(prompt, text, compare)
            return reason

        return rephrase(list(targets), engines, check)


@contextmanager
def _comparing(bounds: Bounds, engines: Sequence[Engine]) -> Iterator[Callable[[str, str], str] | None]:
    """Gives the first difference between the results of two functions; None where nothing has to be run."""
    if not bounds.code or bounds.runs < 1 or UNPROVEN.isdisjoint(engine.name for engine in engines):
        yield None
        return
    from clmeeval_data.paraphrase.sandbox.runner import Runner

    with Runner() as runner:
        yield lambda first, second: runner.compare(first, second, seeds=range(bounds.runs)).difference

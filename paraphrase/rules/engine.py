"""The engine that words intents anew by rules."""

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from clmeeval_data.paraphrase.engine import Setting
from clmeeval_data.paraphrase.rules.choice import Choices
from clmeeval_data.paraphrase.rules.faults import fault, similarity
from clmeeval_data.paraphrase.rules.spans import LONGEST
from clmeeval_data.paraphrase.rules.wording import Rewriter

_TABLES = ("verbs", "heads", "words", "openings", "topics")
_ATTEMPTS = 16
_LAST_RESORT = 8  # from this attempt on
_FAR_ENOUGH = 90.0  # a similarity that ends the search for a wording


class RulesEngine:
    """Words an intent, or the first sentence of a description, anew.

    What is in quotes or backticks, code, names, numbers and operators stay to the byte. A text in another language than
    English, of one word, or longer than an intent can be has no rewording. The same text and seed give the same one.
    """

    name = "rules"
    version = "1"
    model = ""

    def __init__(self, setting: Setting) -> None:
        self._rewriter = _rewriter()
        self._seed = setting.seed

    def rewrite(self, prompts: Sequence[str]) -> list[str | None]:
        """Each text in other words; None where there is no wording without a fault."""
        return [self._reword(prompt) for prompt in prompts]

    def _reword(self, prompt: str) -> str | None:
        """The first wording that is far enough from the text, or else the first one without a fault."""
        text = prompt.strip()
        if len(text) > LONGEST or not _is_english(text):
            return None
        reading = self._rewriter.read(text)
        close = None
        for attempt in range(_ATTEMPTS):
            choices = Choices(self._seed, text, attempt)
            written = self._rewriter.write(reading, choices, attempt >= _LAST_RESORT)
            if fault(text, reading.masked, written, self._rewriter.verbs) is None:
                reworded = reading.masked.restore(written)
                if similarity(text, reworded) <= _FAR_ENOUGH:
                    return reworded
                close = close or reworded
        return close


@cache
def _rewriter() -> Rewriter:
    """The rules of this folder, which no wording changes: engines with different seeds share them."""
    folder = files("clmeeval_data.paraphrase.rules")
    texts = {name: (folder / f"{name}.toml").read_text(encoding="utf-8") for name in _TABLES}
    return Rewriter({name: tomllib.loads(text) for name, text in texts.items()})


def _is_english(text: str) -> bool:
    """Whether a text has two words of Latin letters, more of these than of other letters, and is no assignment."""
    if re.match(r"[\w.\[\]'\"]+ ?= ?\S", text):
        return False
    latin = len(re.findall(r"[A-Za-z]", text))
    return len(re.findall(r"[A-Za-z]+", text)) > 1 and 2 * latin > sum(character.isalpha() for character in text)

"""How a sentence ends, which decides what it may become."""

import re
from dataclasses import dataclass

_HOW_TO = re.compile(r"(?:[^,]*, )?how to ", re.IGNORECASE)


@dataclass(frozen=True)
class Ending:
    """What follows the words of a sentence.

    Args:
        mark: Its punctuation, with the spaces around it.
        is_last: Whether no other sentence follows.
    """

    mark: str
    is_last: bool

    @property
    def is_prose(self) -> bool:
        """Whether a full stop or a colon ends it, as in a manual; a title ends with nothing or a question mark."""
        return "." in self.mark or ":" in self.mark

    @property
    def asks(self) -> bool:
        """Whether it is a question."""
        return "?" in self.mark

    def fits(self, sentence: str) -> bool:
        """Whether that sentence may stand here: a question only where one stood, or where nothing follows."""
        return self.is_last or sentence.endswith("?") == self.asks

    def closed(self, sentence: str, is_capital: bool) -> str:
        """A sentence with its punctuation: ? for a question, nothing after "how to", the old mark for all else.

        Args:
            sentence: The sentence, with ? where it is a question.
            is_capital: Whether it begins with a capital letter; a question always does.
        """
        if sentence.endswith("?"):
            sentence = sentence[:-1].rstrip() + "?"
        elif not _HOW_TO.match(sentence) and not self.asks:
            sentence += self.mark
        return sentence[:1].upper() + sentence[1:] if is_capital or sentence.endswith("?") else sentence

"""What stands between two requests: the answers so far, and the form in which the server takes questions."""

from typing import NamedTuple

from clmeeval_data.llm.profiles import Dialect


class Answer(NamedTuple):
    """The body of an HTTP answer that was paid for, or the flaw for which there is none."""

    body: str | None
    flaw: str
    cached: bool


class Form:
    """The form of requests that a client uses, and whether the server has shown that it takes it.

    Args:
        dialect: To begin with.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.proven = False
        self._failures = 0

    def works(self, dialect: Dialect) -> None:
        """Keep to the form in which a reply came, where it is a simpler one than was tried at first."""
        if not self.proven or dialect.simplicity > self.dialect.simplicity:
            self.dialect = dialect
        self.proven = True
        self._failures = 0

    def fails(self) -> int:
        """Count a request that failed with all its retries; how many there were since the last reply."""
        self._failures += 1
        return self._failures

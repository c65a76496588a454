"""Does a rewritten function do the same as the original, on inputs that both are run on?"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from clmeeval_data.errors import ConfigError
from clmeeval_data.sandbox.limits import Limits
from clmeeval_data.sandbox.process import start_python

_PROGRAM = "clmeeval_data.paraphrase.sandbox.sandbox"


@dataclass(frozen=True)
class Comparison:
    """What came of running two versions of a function.

    Args:
        tried: On how many inputs.
        returned: On how many the first version returned.
        ended: On how many it returned or raised anything but a NameError, TypeError or AttributeError, which is what
            most inputs of the wrong type end in.
        difference: The first difference, "" where there is none.
        problem: Why there is no answer, "" where there is one: the time, the memory, a crash.
    """

    tried: int = 0
    returned: int = 0
    ended: int = 0
    difference: str = ""
    problem: str = ""

    @property
    def is_runnable(self) -> bool:
        """Whether anything was compared at all."""
        return bool(self.returned or self.ended or self.difference)


class Runner:
    """A process that runs functions; use it as a context manager.

    What the functions can't do there, and what they still can, is said in ``limits``.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def compare(
        self, first: str, second: str, seeds: Sequence[int] = range(16), module: str = "", probes: bool = False
    ) -> Comparison:
        """Run two versions of one function on the same inputs, and compare what they return, raise and change.

        Results are equal if their types and contents are; of exceptions, the types count. An input counts only if the
        first version does the same twice. Decorators of the functions are left out.

        Args:
            first: The function as text.
            second: The other version.
            seeds: One input is made from each.
            module: The module of the standard library in which the function stands, whose names it sees. With "" it
                sees the modules of the standard library that it names.
            probes: Call with objects that record all that is done to them, also in place of all global names; then the
                records have to be equal too: the same operations on the same objects in the same order.

        Raises:
            ConfigError: If the system has no ``fork``.
        """
        job = {
            **{"first": first, "second": second, "seeds": list(seeds), "module": module, "probes": probes},
            "limits": asdict(self._limits),
        }
        reply = self._ask(json.dumps(job))
        if "problem" in reply:
            return Comparison(problem=reply["problem"])
        return Comparison(reply["tried"], reply["returned"], reply["ended"], reply["difference"] or "")

    def _ask(self, line: str) -> dict[str, Any]:
        process = self._started()
        if process.stdin is None or process.stdout is None:
            raise ConfigError("the process that runs functions has no pipes: this is a bug.")
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            reply: dict[str, Any] = json.loads(process.stdout.readline() or '{"problem": "the process died"}')
        except (BrokenPipeError, ValueError) as error:
            reply = {"problem": f"the process died: {error}"}
        if reply.get("problem", "").startswith("the process died") and process.poll() is not None:
            self.close()
        return reply

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = start_python(_PROGRAM)
        return self._process

"""What goes wrong on a Hub on loopback, as a test orders it: answers, and connections that are cut."""

import re
from dataclasses import dataclass


@dataclass
class Fault:
    """Something that goes wrong with the next requests of a kind: an answer, or a connection that is cut."""

    pattern: str
    status: int
    cut: str
    times: int
    message: str
    code: str
    act: object


class Faults:
    """The requests of a server, and which of them go wrong.

    ``asked``: each "METHOD path". ``hit``: the patterns of the faults that happened.
    """

    def __init__(self):
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.hit: list[str] = []

    def fail(self, pattern, status=0, cut="", times=1, message="", code="", act=None):
        """Let the next requests whose "METHOD path" the pattern matches go wrong.

        ``cut``: "request" reads half of what is sent, "reply" does what is asked and says nothing, "half" sends half of
        the answer. ``act`` is called before the request is served, as somebody else would who comes in between.
        """
        self.faults.append(Fault(pattern, status, cut, times, message, code, act))

    def fault_for(self, line):
        """The next fault for a request, or None. The caller holds the server's lock."""
        self.asked.append(line)
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, line):
                fault.times -= 1
                self.hit.append(fault.pattern)
                return fault
        return None

"""How many requests an edit holds when it is evaluated, and in what order requests are edited.

single         every edit alone: the paper's protocol
batch:N        one edit that holds N requests, and all N cases asked under it
sequential:N   N edits one after another, each computed on the model as the earlier ones left it

A group is N consecutive cases of the dataset, in its order; the last one may be smaller.

Source: single is Li et al., ICSE 2025 (arXiv 2411.06638), section III; batches are MEMIT's mass editing (arXiv
2210.07229, section 5), sequences the lifelong editing of GRACE (arXiv 2211.11031, section 3).
"""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clmeeval_data.errors import ConfigError

__all__ = ["EXPECTED", "SINGLE", "EvaluationProtocol"]

Name = Literal["single", "batch", "sequential"]
EXPECTED = "single, batch:N or sequential:N, with N at least 1"


@dataclass(frozen=True)
class EvaluationProtocol:
    """What a run does with its cases. ``size``: how many requests share one model; 1 for ``single``."""

    name: Name = "single"
    size: int = 1

    def __post_init__(self) -> None:
        if self.name not in typing.get_args(Name) or self.size < 1 or (self.name == "single" and self.size != 1):
            raise ConfigError(f"the protocol {self.name}:{self.size} does not exist. Expected {EXPECTED}.")

    @classmethod
    def parse(cls, text: str) -> "EvaluationProtocol":
        """The protocol of an option's value, such as ``batch:10``.

        Raises:
            ConfigError: If it is none.
        """
        name, colon, size = text.partition(":")
        if name == "single" and not colon:
            return cls()
        if name in typing.get_args(Name) and name != "single" and size.isascii() and size.isdigit() and int(size) >= 1:
            return cls(typing.cast("Name", name), int(size))
        raise ConfigError(f"--protocol is {text!r}; expected {EXPECTED}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EvaluationProtocol":
        """The protocol in a run's identity."""
        return cls(values["name"], int(values.get("size", 1)))

    def as_dict(self) -> dict[str, Any]:
        """The protocol as JSON values, for a run's identity."""
        if self.name == "single":
            return {"name": self.name}
        values: dict[str, Any] = {"name": self.name, "size": self.size}
        return {**values, "checkpoints": list(self.checkpoints(self.size))} if self.name == "sequential" else values

    def checkpoints(self, size: int) -> tuple[int, ...]:
        """After how many requests a sequence of ``size`` requests is measured: 1, 10, 100, ... and at its end."""
        if self.name != "sequential":
            return ()
        early = (10**power for power in range(len(str(size))))
        return (*(count for count in early if count < size), size)

    def __str__(self) -> str:
        return self.name if self.name == "single" else f"{self.name}:{self.size}"


SINGLE = EvaluationProtocol()

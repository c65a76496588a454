"""What a run's own identity says that each of its cases must look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clmeeval_data.evaluation.report.tables import FLOOR
from clmeeval_data.records import BENCHMARKS, targets_are_code


@dataclass(frozen=True)
class Expectation:
    """What the cases of one run have in common.

    ``benchmark``: its name. ``floor``: whether the method edits nothing. ``protocol``: "single", "batch" or
    "sequential", with ``size`` requests in a group, measured at ``checkpoints``. ``specificity_tokens`` and
    ``fluency_tokens``: how much was generated.
    """

    benchmark: str
    floor: bool
    protocol: str
    size: int
    checkpoints: tuple[int, ...]
    specificity_tokens: int
    fluency_tokens: int

    @classmethod
    def of(cls, identity: Mapping[str, Any]) -> "Expectation":
        """What an identity of the right form calls for."""
        protocol, decoding = identity.get("protocol") or {"name": "single"}, identity["decoding"]
        return cls(
            benchmark=identity["dataset"]["name"],
            floor=identity["method"]["name"] == FLOOR,
            protocol=protocol["name"],
            size=protocol.get("size", 1),
            checkpoints=tuple(protocol.get("checkpoints", ())),
            specificity_tokens=decoding["specificity_tokens"],
            fluency_tokens=decoding["fluency_tokens"],
        )

    @property
    def code(self) -> bool:
        """Whether targets are code, so that their syntax is scored too."""
        return targets_are_code(self.benchmark)

    @property
    def template(self) -> tuple[str, str]:
        """What stands before and after the text of every prompt."""
        before, _, after = BENCHMARKS[self.benchmark].template.partition("{}")
        return before, after

    def points(self, position: int, size: int) -> list[int]:
        """The checkpoints that a case meets at a position of a group of this size."""
        return [count for count in (*(count for count in self.checkpoints if count < size), size) if count > position]

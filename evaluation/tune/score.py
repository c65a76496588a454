"""How good a method's settings are on some cases, in one number that an edit without effect cannot win."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from clmeeval_data.evaluation.scoring.metrics import exact_match, rouge_l

FLOOR = 0.01  # of a dimension in the harmonic mean: one that is 0 for all candidates does not hide the others

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """How good a candidate is on the cases it has met, each dimension a mean over cases from 0 to 1.

    An answer is worth 1 where it is exact and half its ROUGE-L elsewhere. ``effectiveness``: what the edit adds, as a
    share of what there was to gain, (after - before) / (1 - before), at least 0; cases that the unedited model gets
    right are left out. ``generalisation``: the answers to the rephrased prompts. ``specificity``: the answers to the
    neighbours, against the unedited model's; None where no case has neighbours. A ``failed`` case is worth 0 in all of
    them; ``reason`` is the first error.
    """

    cases: int = 0
    failed: int = 0
    effectiveness: float = 0.0
    generalisation: float = 0.0
    specificity: float | None = None
    reason: str = ""

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> "Score":
        """The score of a run's entries."""
        failed = [entry for entry in entries if entry["error"] is not None]
        asked = [(entry["case"]["target"], entry["outputs"]) for entry in entries if entry["error"] is None]
        gains = [_gain(outputs["effectiveness"], target) for target, outputs in asked]
        near = [
            fmean(_worth(one["after"], one["before"]) for one in outputs["specificity"])
            for _, outputs in asked
            if outputs["specificity"]
        ]
        nothing = [0.0] * len(failed)
        return cls(
            cases=len(entries),
            failed=len(failed),
            effectiveness=_mean([gain for gain in gains if gain is not None] + nothing) or 0.0,
            generalisation=_mean([_worth(o["generalisation"]["after"], t) for t, o in asked] + nothing) or 0.0,
            specificity=_mean(near + nothing),
            reason=failed[0]["error"]["message"] if failed else "",
        )

    @property
    def works(self) -> bool:
        """Whether there is a case on which the candidate did not fail."""
        return self.failed < self.cases

    @property
    def total(self) -> float:
        """Harmonic mean of the dimensions, each at least ``FLOOR``.

        A plain mean would let an edit that changes nothing, whose specificity is 1, win over one that does its task and
        disturbs some neighbours. In the harmonic mean the worst dimension counts most, and as effectiveness is what the
        edit adds, that of no change is 0: its total is below 3 FLOOR.

        Source: Meng et al. (arXiv 2202.05262), section 3.3, rank methods by the harmonic mean of the three dimensions.
        """
        values = [self.effectiveness, self.generalisation]
        values += [] if self.specificity is None else [self.specificity]
        return len(values) / sum(1 / max(value, FLOOR) for value in values)

    @property
    def rank(self) -> tuple[bool, float, float]:
        """What candidates are ordered by."""
        return self.works, round(self.total, 9), round(self.effectiveness, 9)

    def as_dict(self) -> dict[str, Any]:
        """The score as JSON values."""
        values = {name: getattr(self, name) for name in ("effectiveness", "generalisation", "specificity", "total")}
        rounded = {name: None if value is None else round(value, 6) for name, value in values.items()}
        return {"cases": self.cases, "failed": self.failed, "reason": self.reason, **rounded}


def _worth(answer: str, wanted: str) -> float:
    return exact_match(answer, wanted) or rouge_l(answer, wanted) / 2


def _gain(answers: Mapping[str, str], target: str) -> float | None:
    """What an edit adds, as a share of what there was to gain; None where there was nothing."""
    before, after = _worth(answers["before"], target), _worth(answers["after"], target)
    return None if before == 1 else max(0.0, (after - before) / (1 - before))


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None

"""How good the rephrasings of a dataset look, as far as counting shows: by engine, with samples for the eye."""

import hashlib
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from clmeeval_data import storage
from clmeeval_data.records import SPLITS

SAMPLES = 20
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Rewording(NamedTuple):
    """A prompt, its rephrasing, and what made it."""

    case_id: str
    prompt: str
    rephrased: str
    engine: str


@dataclass(frozen=True)
class Figures:
    """What is counted of some rephrasings.

    Args:
        engine: What made them: engine and model; "all" for all of them.
        cases: How many there are.
        share: What part of all cases that is, 0 to 1.
        length_ratio: Length of the rephrasing by that of the prompt, in characters: 5th percentile, median, 95th.
        overlap: The share of tokens that prompt and rephrasing have in common among all tokens of either, each counted
            once (Jaccard), 0 to 1: mean over the cases.
        self_bleu: BLEU of all rephrasings against their prompts, 0 to 100: the lower, the more differs.
    """

    engine: str
    cases: int
    share: float
    length_ratio: tuple[float, float, float]
    overlap: float
    self_bleu: float


@dataclass(frozen=True)
class Quality:
    """The figures of a dataset, for all cases first and then by engine, the most frequent first; and some samples."""

    title: str
    figures: tuple[Figures, ...]
    samples: tuple[Rewording, ...]

    def shown(self) -> Group:
        """Two tables: the figures, and the samples."""
        return Group(self._figures(), self._samples())

    def _figures(self) -> Table:
        table = Table(title=f"{self.title}: rephrasings", title_justify="left")
        table.add_column("engine", overflow="fold")
        for name in ("cases", "share", "length ratio (5, 50, 95 %)", "lexical overlap", "self-BLEU"):
            table.add_column(name, justify="right")
        for each in self.figures:
            ratios = " / ".join(f"{ratio:.2f}" for ratio in each.length_ratio)
            row = (str(each.cases), f"{each.share:.1%}", ratios, f"{each.overlap:.2f}", f"{each.self_bleu:.1f}")
            table.add_row(Text(each.engine), *row)
        return table

    def _samples(self) -> Table:
        table = Table(title=f"{len(self.samples)} samples", title_justify="left", show_lines=True)
        for name in ("engine", "prompt", "rephrased"):
            table.add_column(name, overflow="fold", ratio=1 if name == "engine" else 4)
        for each in self.samples:
            table.add_row(*(Text(text) for text in (each.engine, each.prompt, each.rephrased)))
        return table


def quality(folder: Path) -> Quality:
    """The figures of a dataset's rephrasings. The same dataset always gives the same figures and samples.

    Raises:
        DatasetError: If the folder is no dataset.
    """
    benchmark = storage.benchmark_of(folder)
    cases = list(_rewordings(folder))
    by_engine: dict[str, list[Rewording]] = defaultdict(list)
    for case in cases:
        by_engine[case.engine].append(case)
    groups = sorted(by_engine.items(), key=lambda item: (-len(item[1]), item[0]))
    figures = [_figures(name, some, len(cases)) for name, some in [("all", cases), *groups] if some]
    chosen = sorted(cases, key=lambda case: hashlib.sha256(case.case_id.encode()).digest())[:SAMPLES]
    return Quality(benchmark.name, tuple(figures), tuple(chosen))


def _rewordings(folder: Path) -> Iterator[Rewording]:
    benchmark = storage.benchmark_of(folder)
    for split in SPLITS:
        for record in storage.read_split(folder, split):
            made = record.rephrasing
            engine = f"{made.engine} {made.model}".strip()
            prompt, rephrased = (
                str(getattr(record, name)) for name in (benchmark.prompt_field, benchmark.rephrased_field)
            )
            yield Rewording(record.case_id, prompt, rephrased, engine)


def _figures(engine: str, cases: Sequence[Rewording], total: int) -> Figures:
    ratios = [len(case.rephrased) / max(len(case.prompt), 1) for case in cases]
    return Figures(
        engine=engine,
        cases=len(cases),
        share=len(cases) / total,
        length_ratio=(_percentile(ratios, 5), _percentile(ratios, 50), _percentile(ratios, 95)),
        overlap=statistics.fmean(_overlap(case) for case in cases),
        self_bleu=_self_bleu(cases),
    )


def _percentile(numbers: Sequence[float], percent: int) -> float:
    """The nearest rank."""
    ordered = sorted(numbers)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def _overlap(case: Rewording) -> float:
    one, other = (frozenset(_TOKEN.findall(text.casefold())) for text in (case.prompt, case.rephrased))
    return len(one & other) / len(one | other) if one | other else 1.0


def _self_bleu(cases: Sequence[Rewording]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(tokenize="13a", lowercase=True, force=True)
    found = bleu.corpus_score([case.rephrased for case in cases], [[case.prompt for case in cases]])
    return float(found.score)

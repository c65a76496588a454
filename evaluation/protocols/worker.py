"""A loaded model with methods that turns units of work into finished entries. It writes nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.answers import UneditedAnswers
from clmeeval_data.evaluation.editors.contract import Editor, EditRequest, Track, cannot_do, untracked
from clmeeval_data.evaluation.measurement import Measurement
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.protocols.group import measured_together
from clmeeval_data.evaluation.protocols.sequence import EditSequence
from clmeeval_data.evaluation.protocols.single import measured_alone
from clmeeval_data.evaluation.protocols.units import Piece, Task


@dataclass(frozen=True)
class Worker:
    """What computes: the model, the methods, and how they are evaluated.

    ``code``: whether targets are code. ``seed``: of the sampled texts. ``batch_size``: cases that are edited, or asked
    under one edit, together.
    """

    lm: LanguageModel
    editors: Sequence[Editor]
    protocol: EvaluationProtocol
    code: bool
    seed: int
    batch_size: int

    def prepare(self, methods: Iterable[int], train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Let methods do what does not depend on the cases.

        Raises:
            ClmeevalError: If a method does not fit the model, or lacks what it needs first.
        """
        for method in methods:
            self.editors[method].prepare(self.lm, train, track)

    def compute(self, task: Task) -> Iterator[Piece]:
        """The entries of a task in pieces, each finished when it comes; of a sequence its states, too."""
        answers = UneditedAnswers(self.lm, task.known)
        works = [Measurement(self.lm, editor, answers, self.code, self.seed) for editor in self.editors]
        if self.protocol.name == "single":
            yield from measured_alone(task, works)
            return
        for method, ids in task.wanted.items():
            if ids and self.protocol.name == "batch":
                yield from measured_together(works[method], task.unit, self.batch_size, method)
            elif ids:
                sequence = EditSequence(works[method], task.unit, self.protocol, self.batch_size, method)
                yield from sequence.pieces(task.state)


def check_protocol(editor: Editor | type[Editor], protocol: EvaluationProtocol) -> None:
    """Refuse a method that cannot be evaluated under a protocol.

    Raises:
        ConfigError: If it says so; the message has its reason.
    """
    reason = cannot_do(editor, protocol.name)
    if reason is not None:
        raise ConfigError(f"{editor.name} cannot be run with --protocol {protocol}: {reason}")

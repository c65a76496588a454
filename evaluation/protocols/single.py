"""Every edit alone: a batch of cases, each under its own edit, with all methods that lack one of them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from clmeeval_data.errors import CaseError
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.measurement import Measurement, Reading, is_out_of_memory, prompts_read
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.protocols.units import Piece, Task


def measured_alone(task: Task, works: Sequence[Measurement]) -> Iterator[Piece]:
    """The entries of a batch, method by method; its prompts are read once for all of them.

    Args:
        task: The batch.
        works: All methods of the run; ``task.wanted`` says which of them have something to do.
    """
    lm, cases = works[0].lm, task.unit.cases
    missing = {index: [case for case in cases if case.case_id in ids] for index, ids in task.wanted.items() if ids}
    layers = {layer for index in missing for layer in works[index].layers}
    with ExitStack() as stack:
        reading = _shared(stack, lm, cases, sorted(layers)) if len(missing) > 1 else None
        for index, wanted in missing.items():
            work = works[index]
            entries = work.entries(wanted, reading if lm.memory is not None else None)
            yield Piece(index, entries, work.answers.taken())


def _shared(stack: ExitStack, lm: LanguageModel, batch: Sequence[Case], layers: Sequence[int]) -> Reading | None:
    """The batch's prompts for all methods; None where they cannot be read together, which each method then finds."""
    try:
        return stack.enter_context(prompts_read(lm, batch, layers))
    except CaseError:
        return None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None

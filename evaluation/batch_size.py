"""How many cases are computed together where nobody has said it: as many as the device has room for.

A few of the longest cases are computed once by every method, and what they take at their peak is scaled to what is
free. A batch that does not fit after all is halved where it is computed.
"""

import logging
from collections.abc import Iterable, Sequence

import torch

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.answers import UneditedAnswers
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.measurement import Measurement, free_memory
from clmeeval_data.evaluation.protocols.units import by_length
from clmeeval_data.evaluation.protocols.worker import Worker

DEFAULT_SIZE = 16
TRIED = 4  # cases that are measured
LARGEST = 256
SHARE = 0.8  # of the free memory: the allocator's blocks have gaps

logger = logging.getLogger(__name__)


def parse_batch_size(text: str) -> int | None:
    """The number in an option's value; None for ``auto``.

    Raises:
        ConfigError: If it is neither.
    """
    if text == "auto":
        return None
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise ConfigError(f"--batch-size is {text!r}; expected a number of 1 or more, or auto.")


def fitting_batch_size(worker: Worker, methods: Iterable[int], cases: Sequence[Case]) -> int:
    """The largest batch of the longest cases that every method has room for, as a power of two.

    On the CPU, whose memory others use too, it is always 16.

    Args:
        worker: The model with methods that are prepared.
        methods: Which of them are asked, by index.
        cases: Of the run.
    """
    device = worker.lm.device
    if device.type != "cuda":
        return DEFAULT_SIZE
    tried = by_length(cases, len(cases))[0][-TRIED:]
    taken = 1
    for method in methods:
        free_memory()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work = Measurement(worker.lm, worker.editors[method], UneditedAnswers(worker.lm), worker.code, worker.seed)
        work.entries(tried)
        taken = max(taken, torch.cuda.max_memory_allocated(device) - before)
    free_memory()
    size = scaled(torch.cuda.mem_get_info(device)[0], taken, len(tried))
    logger.warning("batches of %d: %d of the longest cases take %.2f GiB", size, len(tried), taken / 2**30)
    return size


def scaled(free: int, taken: int, cases: int) -> int:
    """The largest power of two of cases that fit, given what some took; from 1 to 256.

    Args:
        free: Bytes there are.
        taken: Bytes that ``cases`` cases took at their peak, at least 1.
        cases: How many they were.
    """
    fitting = int(SHARE * free * cases / taken)
    return min(LARGEST, 1 << max(0, fitting.bit_length() - 1))

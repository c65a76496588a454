"""What an edit costs: seconds, and bytes at its peak above what the model itself takes."""

import ctypes
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass
class Cost:
    """``seconds`` of wall time; ``peak_bytes`` above the start, None where the system does not tell."""

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measured(device: torch.device) -> Iterator[Cost]:
    """Measure a block: on a CUDA device its allocator's peak, on the CPU the process's peak resident memory (Linux)."""
    cost = Cost()
    cuda = device.type == "cuda"
    before = _start_peak(device)
    started = time.perf_counter()
    try:
        yield cost
    finally:
        if cuda:
            torch.cuda.synchronize(device)
        cost.seconds = time.perf_counter() - started
        peak = torch.cuda.max_memory_allocated(device) if cuda else _status_bytes("VmHWM")
        cost.peak_bytes = None if before is None or peak is None else max(0, peak - before)


def _start_peak(device: torch.device) -> int | None:
    """Set the peak back to what is in use now, and return that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)  # memory that was freed but kept by the allocator would hide what the block takes
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to VmRSS, see proc(5)
    except OSError:
        return None
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{field}:")), None)
    return int(found.split()[1]) * 1024 if found else None

"""What code that is run here may not do; set once in a process, and for good.

Prevented by the operating system, whatever the code does: more processor time, memory, open files and file size than
the limits say. Prevented by Python's audit hooks, as long as the code goes through the interpreter: writing, creating,
moving or removing files outside one folder, sockets, starting processes, signals to other processes, ``ctypes``, and
the databases that write files from C.

Not prevented: reading files and the environment; named pipes; extension modules that call the operating system by
themselves; code that sets out to break the interpreter. So this keeps accidents harmless. It is no jail for an
attacker: that takes a container.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_FORBIDDEN = (
    *("socket.", "ctypes.", "sqlite3.", "subprocess.", "pty.", "webbrowser.", "ftplib.", "smtplib.", "http.client."),
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill"),
    *("os.chown", "os.chmod", "os.setxattr", "os.removexattr", "os.unshare", "syslog.", "resource.", "fcntl."),
)
_WRITES = frozenset(
    {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.utime"}
)
_FORBIDDEN_MODULES = frozenset(
    {"_ctypes", "_sqlite3", "_gdbm", "_dbm", "_posixsubprocess", "_posixshmem", "_multiprocessing", "_socket"}
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Limits:
    """How much one comparison may take.

    Args:
        seconds: Processor time.
        wait: Time on the clock.
        memory: Bytes of address space.
        file_size: Bytes of one file.
        call: Seconds on the clock for one call of a function.
    """

    seconds: int = 10
    wait: float = 20.0
    memory: int = 1 << 30
    file_size: int = 1 << 20
    call: float = 0.5


def confine(limits: Limits, folder: Path) -> None:
    """Set the limits for this process; only ``folder`` can be written to."""
    import resource  # not on every system

    for kind, most in (
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
    allowed = str(folder.resolve()) + os.sep

    def check(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"{event} is not allowed here")
        if event == "import" and arguments[0] in _FORBIDDEN_MODULES:
            raise PermissionError(f"importing {arguments[0]} is not allowed here")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            _refuse_outside(arguments[:1], allowed)
        elif event in _WRITES or event.startswith("shutil."):
            _refuse_outside(tuple(path for path in arguments if isinstance(path, str | bytes | os.PathLike)), allowed)

    sys.addaudithook(check)


def _refuse_outside(paths: tuple[object, ...], allowed: str) -> None:
    for path in paths:
        if not isinstance(path, str | bytes | os.PathLike):
            continue  # the number of a file that is open already
        written = os.fsdecode(path)
        if not os.path.realpath(written).startswith(allowed) and written != os.devnull:
            raise PermissionError(f"writing {written} is not allowed here")

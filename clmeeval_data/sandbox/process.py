"""Python processes that get nothing of this one: no environment, no user site, only the places of modules."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from clmeeval_data.errors import ConfigError

_START = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
importlib.import_module(sys.argv[2]).main()
"""


def start_python(module: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """Start a process that runs ``main()`` of a module, with pipes for stdin and stdout, in a session of its own.

    Args:
        module: Its full name; it is found as it is found here.
        folder: Where the process starts, and its home; the system's folder for temporary files if None.

    Raises:
        ConfigError: If the system has no ``fork``.
    """
    if not hasattr(os, "fork"):
        raise ConfigError("running functions needs a system with fork, such as Linux or macOS.")
    path = json.dumps([entry or str(Path.cwd()) for entry in sys.path])
    home = str(folder or tempfile.gettempdir())
    return subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", _START, path, module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=home,
        env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": home},
        start_new_session=True,
    )

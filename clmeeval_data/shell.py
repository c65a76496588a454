"""What the three commands share: how an expected error, a wrong argument and Ctrl-C look in a shell."""

import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from clmeeval_data.errors import ClmeevalError

USAGE_EXIT = 2
INTERRUPT_EXIT = 130


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line: an expected error is one line on stderr and exit code 2, Ctrl-C is exit code 130."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:  # a wrong argument; typer carries its own copy of click, so click's don't match
        _stop(_usage_line(error), USAGE_EXIT)
    except ClmeevalError as error:
        _stop(f"error: {_one_line(str(error))}", USAGE_EXIT)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPT_EXIT
    if code == INTERRUPT_EXIT:  # what typer makes of Ctrl-C inside a command
        _stop("stopped. Finished work is kept; the same command again continues from there.", INTERRUPT_EXIT)
    sys.exit(code if isinstance(code, int) else 0)


def _usage_line(error: TyperException) -> str:
    """What is wrong with the arguments; empty where none were given and the help was shown."""
    message = _one_line(error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else sys.argv[0]
    return f"error: {message}. See '{command} --help'." if message else ""


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _stop(line: str, code: int) -> NoReturn:
    if line:
        sys.stderr.write(f"{line}\n")
    sys.exit(code)

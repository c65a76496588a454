"""What the three commands share: how an expected error, a wrong argument and Ctrl-C look in a shell."""

import sys
from typing import NoReturn

import click
import typer

from clmeeval_data.errors import ClmeevalError

USAGE_EXIT = 2
INTERRUPT_EXIT = 130


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line: an expected error is one line on stderr and exit code 2, Ctrl-C is exit code 130."""
    try:
        code = app(standalone_mode=False)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else sys.argv[0]
        _stop(f"error: {error.format_message()} See '{command} --help'.", USAGE_EXIT)
    except (ClmeevalError, click.ClickException) as error:
        _stop(f"error: {' '.join(str(error).split())}", USAGE_EXIT)
    except (KeyboardInterrupt, click.Abort):
        _stop("stopped. Finished work is kept; the same command again continues from there.", INTERRUPT_EXIT)
    sys.exit(code if isinstance(code, int) else 0)


def _stop(line: str, code: int) -> NoReturn:
    sys.stderr.write(f"{line}\n")
    sys.exit(code)

"""The command ``clmeeval-build``, put together: what builds datasets, and what a model answers to their cases.

The one place that knows builders and evaluation both; nothing imports it.
"""

from clmeeval_data.builders.cli import app
from clmeeval_data.evaluation.commands import answers as answers_command
from clmeeval_data.shell import run_app

answers_command.add_to(app)


def main() -> None:
    """Run the command line."""
    run_app(app)


if __name__ == "__main__":
    main()

"""What every editing method must satisfy, tried on tiny random models: for methods of other packages, and for ours.

from clmeeval_data.evaluation.testing import check_editor

def test_my_method():
    check_editor(MyMethod, {"learning_rate": 0.1})
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clmeeval_data.errors import ClmeevalError, ModelError
from clmeeval_data.evaluation.testing.checks import CHECKS, Check, Problem
from clmeeval_data.evaluation.testing.models import ARCHITECTURES, sample_cases, tiny_model
from clmeeval_data.evaluation.testing.subject import Subject

__all__ = ["ARCHITECTURES", "CHECKS", "Check", "CheckError", "Problem", "check_editor", "find_problems", "tiny_model"]


class CheckError(ClmeevalError):
    """A method does not keep the contract; every problem is one line of the message."""


def check_editor(
    editor_class: Any,
    config: Mapping[str, Any] | None = None,
    *,
    architectures: Sequence[str] = ("llama", "gpt2"),
    seed: int = 0,
) -> None:
    """Check that a method keeps the contract (``editors.contract.Editor``), on a tiny model of each architecture.

    A method that needs training is trained on sixteen cases first. Takes seconds, needs neither network nor GPU, and
    leaves nothing behind.

    Args:
        editor_class: The class.
        config: Its settings, as JSON or TOML values; they must suit a model of 4 layers and width 32.
        architectures: Of ``ARCHITECTURES``. The method must work on the first; it may refuse others by a ModelError.
        seed: Of the models' weights.

    Raises:
        CheckError: If a check fails; the message names each with what it is about and what was found.
    """
    problems = find_problems(editor_class, config, architectures=architectures, seed=seed)
    if problems:
        name = getattr(editor_class, "__qualname__", repr(editor_class))
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise CheckError(f"{name} does not keep the contract of an editing method:\n{lines}")


def find_problems(
    editor_class: Any,
    config: Mapping[str, Any] | None = None,
    *,
    architectures: Sequence[str] = ("llama", "gpt2"),
    seed: int = 0,
) -> list[Problem]:
    """What ``check_editor`` complains about, in the order of ``CHECKS``; nothing where all is well."""
    found: list[Problem] = []
    asked, train = sample_cases()
    for place, architecture in enumerate(architectures):
        with tempfile.TemporaryDirectory() as folder, _cache_in(Path(folder)):
            lm = tiny_model(architecture, seed)
            subject = Subject(editor_class, config or {}, lm, asked, train, Path(folder))
            problems, refused = _problems(subject, architecture)
        if place and refused:
            continue
        found += problems
        if not place and any(problem.check.decides for problem in problems):
            break
    return found


def _problems(subject: Subject, architecture: str) -> tuple[list[Problem], bool]:
    """The problems on one architecture, and whether the method refuses it."""
    found: list[Problem] = []
    for check in CHECKS:
        try:
            details = list(check.look(subject))
        except ModelError as error:
            return [Problem(check, architecture, f"it refuses the model: {error}")], True
        except Exception as error:  # whatever somebody else's method raises is a finding
            details = [f"it raised {type(error).__name__}: {error}"]
        found += [Problem(check, architecture, detail) for detail in details]
        if details and check.decides:
            break
    return found, False


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Keep what methods write into the user's cache in a folder of ours, for the length of a block."""
    before = os.environ.get("CLMEEVAL_CACHE")
    os.environ["CLMEEVAL_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        if before is None:
            del os.environ["CLMEEVAL_CACHE"]
        else:
            os.environ["CLMEEVAL_CACHE"] = before

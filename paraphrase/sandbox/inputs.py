"""Arguments for a function that nothing is known of, and what its free names stand for."""

import ast
import builtins
import importlib
import inspect
import random
import symtable
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from clmeeval_data.paraphrase.sandbox.probes import Probe, Record

_INTEGERS = (0, 1, 2, 3, 5, 7, -1, -4, 10, 64, 255, 1000)
_WORDS = ("", "a", "abc", "Hello, World", "key", "x=1;y=2", "  spaces ", "1", "-2.5", "a/b/c.txt", "ä€", "line\nline\n")
_FLOATS = (0.0, 1.0, -1.5, 0.25, 3.75, 1e9)
_SINGLE = (
    *("integer", "word", "integers", "words", "float", "mapping"),
    *("bytes", "pairs", "none", "truth", "floats", "tuple", "object"),
)
Item = TypeVar("Item")


class Values:
    """Plain values of all kinds, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds: Mapping[str, Callable[[], object]] = {
            **{"integer": self._integer, "word": self._word, "float": lambda: self._one(_FLOATS)},
            **{"truth": lambda: self._one((True, False)), "none": lambda: None},
            "bytes": lambda: self._one(_WORDS).encode(),
            "integers": lambda: [self._integer() for _ in self._some()],
            "floats": lambda: [self._one(_FLOATS) for _ in (0, *self._some())],
            "words": lambda: [self._word() for _ in self._some()],
            "pairs": lambda: [(self._word(), self._integer()) for _ in self._some()],
            "mapping": lambda: {self._word(): self._one((self._integer(), self._word(), None)) for _ in self._some()},
            "tuple": lambda: tuple(self._integer() for _ in self._some()),
            "object": lambda: types.SimpleNamespace(name=self._word(), value=self._integer(), items=[1], data={"a": 1}),
        }

    def of(self, kind: str) -> object:
        """A value of that kind."""
        return self._kinds[kind]()

    def any(self) -> object:
        """A value of any kind."""
        return self.of(self._one(_SINGLE))

    def _one(self, items: Sequence[Item]) -> Item:
        return self._random.choice(items)

    def _some(self) -> range:
        return range(self._random.randrange(5))

    def _integer(self) -> int:
        return self._one(_INTEGERS)

    def _word(self) -> str:
        return self._one(_WORDS)


def plain_arguments(function: Callable[..., object], seed: int) -> tuple[list[object], dict[str, object]]:
    """Plain values for all parameters, by place where that is possible: of one kind for the first seeds, then mixed."""
    values = Values(seed)
    kind = _SINGLE[seed] if seed < len(_SINGLE) else ""
    return _fill(function, lambda: values.of(kind) if kind else values.any(), seed)


def probing_arguments(
    function: Callable[..., object], record: Record, seed: int
) -> tuple[list[object], dict[str, object]]:
    """Probes and some plain values for all parameters."""
    return _fill(function, record.value, seed)


def _fill(
    function: Callable[..., object], make: Callable[[], object], seed: int
) -> tuple[list[object], dict[str, object]]:
    choices = random.Random(seed)
    given: list[object] = []
    named: dict[str, object] = {}
    with_defaults = choices.random() < 0.5
    is_open = True  # whether arguments by place may follow
    for parameter in inspect.signature(function).parameters.values():
        has_default = parameter.default is not parameter.empty
        match parameter.kind:
            case parameter.POSITIONAL_ONLY | parameter.POSITIONAL_OR_KEYWORD:
                is_open = is_open and not (has_default and with_defaults)
                given += [make()] if is_open else []
            case parameter.VAR_POSITIONAL if is_open:
                given += [make() for _ in range(choices.randrange(3))]
            case parameter.KEYWORD_ONLY:
                if not (has_default and with_defaults):
                    named[parameter.name] = make()
            case parameter.VAR_KEYWORD:
                named |= {f"extra_{number}": make() for number in range(choices.randrange(2))}
    return given, named


def free_names(code: str) -> set[str]:
    """The names in a text that come from outside and aren't builtins."""
    found: set[str] = set()
    waiting = [symtable.symtable(code, "<code>", "exec")]
    while waiting:
        table = waiting.pop()
        waiting.extend(table.get_children())
        inside = table.get_type() != "module"
        found |= {
            item.get_name() for item in table.get_symbols() if item.is_global() and (inside or item.is_referenced())
        }
    return found - vars(builtins).keys()


def modules_for(names: set[str]) -> Mapping[str, object]:
    """The modules of the standard library among these names."""
    found: dict[str, object] = {}
    for name in sorted(names & sys.stdlib_module_names):
        try:
            found[name] = importlib.import_module(name)
        except (ImportError, PermissionError):
            continue
    return found


def probes_for(names: set[str], record: Record, errors: Mapping[str, type[Exception]]) -> dict[str, object]:
    """A probe for each of the names, and for builtins that reach outside; classes for exceptions that are caught."""
    found: dict[str, object] = {name: errors.get(name) or Probe(record) for name in sorted(names)}
    opened = Probe(record)
    found |= {name: Probe(record) for name in ("super", "print", "input")}
    found["open"] = lambda path, mode="r", *rest, **named: opened(path, mode, *rest, **named)
    return found


def caught_names(tree: ast.AST, names: set[str]) -> set[str]:
    """The names that stand for exceptions: in ``except``, and by how they end."""
    caught = [node.type for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is not None]
    named = {part.id for kind in caught for part in ast.walk(kind) if isinstance(part, ast.Name)}
    return {name for name in names if name in named or name.endswith(("Error", "Exception", "Warning"))}

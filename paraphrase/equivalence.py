"""Whether two Python functions are one up to the names of their local variables, shown twice and independently.

Nothing is run: the syntax trees are walked side by side, and the compiled code is compared instruction by instruction.
"""

import ast
import dis
import warnings
from collections.abc import Iterator, Mapping
from itertools import groupby
from types import CodeType

_UNORDERED = frozenset({"MAKE_CELL", "LOAD_CLOSURE"})  # CPython sorts these by the name of the variable
_CELL_NAMES = ("co_varnames", "co_cellvars", "co_freevars")


def alpha_equivalent(first: str, second: str) -> bool:
    """Whether the codes differ in nothing but a one-to-one renaming of local variables (and in layout and comments).

    False as well where one of them is not valid Python for the running interpreter.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
        try:
            trees = ast.parse(first), ast.parse(second)
            compiled = [compile(tree, "<code>", "exec", dont_inherit=True) for tree in trees]
        except (SyntaxError, ValueError, RecursionError):
            return False
    names = _matching_names(trees[0], trees[1])
    return names is not None and _same_instructions(compiled[0], compiled[1], names)


def _matching_names(first: ast.AST, second: ast.AST) -> dict[str, str] | None:
    """The one-to-one mapping of variable names that turns one tree into the other, or None where there is none."""
    forth: dict[str, str] = {}
    back: dict[str, str] = {}
    stack: list[tuple[object, object]] = [(first, second)]
    while stack:
        one, other = stack.pop()
        if isinstance(one, ast.AST) and type(one) is type(other):
            bound, rest = _fields(one), _fields(other)
            if set(bound) != set(rest):
                return None
            stack.extend((bound[name], rest[name]) for name in bound)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            stack.extend(zip(one, other, strict=True))
        elif isinstance(one, _VariableName) and isinstance(other, _VariableName):
            if (
                forth.setdefault(one.text, other.text) != other.text
                or back.setdefault(other.text, one.text) != one.text
            ):
                return None
        elif type(one) is not type(other) or repr(one) != repr(other):  # repr: 1 is not True, 0.0 is not -0.0
            return None
    return forth


class _VariableName:
    """A name that stands for a variable, so that it may differ."""

    def __init__(self, text: str) -> None:
        self.text = text


def _fields(node: ast.AST) -> dict[str, object]:
    fields: dict[str, object] = dict(ast.iter_fields(node))
    if isinstance(node, ast.Name):
        fields["id"] = _VariableName(node.id)
    if isinstance(node, ast.ExceptHandler) and node.name is not None:
        fields["name"] = _VariableName(node.name)
    if isinstance(node, ast.arg):
        fields["arg"] = _VariableName(node.arg)
        fields["written"] = node.arg  # parameters keep their names, which callers may use
    return fields


def _same_instructions(first: CodeType, second: CodeType, names: Mapping[str, str]) -> bool:
    if first.co_argcount != second.co_argcount or first.co_kwonlyargcount != second.co_kwonlyargcount:
        return False
    if first.co_names != second.co_names or first.co_name != second.co_name or first.co_flags != second.co_flags:
        return False
    for kind in _CELL_NAMES:
        if sorted(names.get(name, name) for name in getattr(first, kind)) != sorted(getattr(second, kind)):
            return False
    if list(_instructions(first, names)) != list(_instructions(second, {})):
        return False
    inner = [(one, two) for one, two in zip(first.co_consts, second.co_consts, strict=True) if _is_code(one, two)]
    return all(_same_instructions(one, two, names) for one, two in inner)


def _instructions(code: CodeType, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each instruction with its argument, renamed; runs that the compiler orders by name are put into one order."""
    listed = []
    for instruction in dis.get_instructions(code):
        value = instruction.argval
        is_local = instruction.opcode in (*dis.haslocal, *dis.hasfree)
        is_code = isinstance(value, CodeType)
        listed.append((instruction.opname, "" if is_code else _shown(_renamed(value, names) if is_local else value)))
    for is_unordered, group in groupby(listed, key=lambda item: item[0] in _UNORDERED):
        run = list(group)
        yield from sorted(run) if is_unordered else run


def _shown(value: object) -> str:
    """What ``repr`` shows, but for the order of sets, which depends on the seed of Python's hashes."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_shown, value))})"
    return f"({', '.join(map(_shown, value))})" if isinstance(value, tuple) else repr(value)


def _renamed(value: object, names: Mapping[str, str]) -> object:
    if isinstance(value, tuple):  # one instruction for two variables, from Python 3.13 on
        return tuple(_renamed(item, names) for item in value)
    return names.get(value, value) if isinstance(value, str) else value


def _is_code(one: object, two: object) -> bool:
    return isinstance(one, CodeType) and isinstance(two, CodeType)

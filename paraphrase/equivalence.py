"""Whether two Python functions are one up to the names of their local variables, shown twice and independently.

Nothing is run: the syntax trees are walked side by side, and the compiled code is compared instruction by instruction.
"""

import ast
import dis
import warnings
from collections.abc import Iterator, Mapping
from itertools import groupby, zip_longest
from types import CodeType

_UNORDERED = frozenset({"MAKE_CELL", "LOAD_CLOSURE"})  # CPython sorts these by the name of the variable
_CELL_NAMES = ("co_varnames", "co_cellvars", "co_freevars")


def alpha_equivalent(first: str, second: str, parameters: bool = False) -> bool:
    """Whether the codes differ in nothing but a one-to-one renaming of local variables (and in layout and comments).

    False as well where one of them is not valid Python for the running interpreter.

    Args:
        first: One code.
        second: The other one.
        parameters: Whether the names of parameters may differ too; callers may use them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
        try:
            trees = ast.parse(first), ast.parse(second)
            compiled = [compile(tree, "<code>", "exec", dont_inherit=True) for tree in trees]
        except (SyntaxError, ValueError, RecursionError):
            return False
    names = _matching_names(trees[0], trees[1], parameters)
    return names is not None and _same_instructions(compiled[0], compiled[1], names, parameters)


def _matching_names(first: ast.AST, second: ast.AST, parameters: bool) -> dict[str, str] | None:
    """The one-to-one mapping of variable names that turns one tree into the other, or None where there is none."""
    forth: dict[str, str] = {}
    back: dict[str, str] = {}
    stack: list[tuple[object, object]] = [(first, second)]
    while stack:
        one, other = stack.pop()
        if isinstance(one, ast.AST) and type(one) is type(other):
            bound, rest = _fields(one, parameters), _fields(other, parameters)
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


def _fields(node: ast.AST, parameters: bool) -> dict[str, object]:
    fields: dict[str, object] = dict(ast.iter_fields(node))
    if isinstance(node, ast.Name):
        fields["id"] = _VariableName(node.id)
    if isinstance(node, ast.ExceptHandler) and node.name is not None:
        fields["name"] = _VariableName(node.name)
    if isinstance(node, ast.arg):
        fields["arg"] = _VariableName(node.arg)
        if not parameters:
            fields["written"] = node.arg
    return fields


def _same_instructions(first: CodeType, second: CodeType, names: Mapping[str, str], parameters: bool) -> bool:
    if first.co_argcount != second.co_argcount or first.co_kwonlyargcount != second.co_kwonlyargcount:
        return False
    if first.co_names != second.co_names or first.co_name != second.co_name or first.co_flags != second.co_flags:
        return False
    for kind in _CELL_NAMES:
        if sorted(names.get(name, name) for name in getattr(first, kind)) != sorted(getattr(second, kind)):
            return False
    for one, other in zip_longest(_instructions(first, names), _instructions(second, {}), fillvalue=("", "")):
        if one != other and not (parameters and _are_keys(one, other, names)):
            return False
    inner = [[value for value in code.co_consts if isinstance(value, CodeType)] for code in (first, second)]
    if len(inner[0]) != len(inner[1]):
        return False
    return all(_same_instructions(one, two, names, parameters) for one, two in zip(*inner, strict=True))


def _are_keys(one: tuple[str, str], other: tuple[str, str], names: Mapping[str, str]) -> bool:
    """Whether two instructions load the names of parameters, for annotations or for defaults."""
    if one[0] != "LOAD_CONST" or other[0] != "LOAD_CONST":
        return False
    try:
        values = ast.literal_eval(one[1]), ast.literal_eval(other[1])
    except (SyntaxError, ValueError):  # a constant that is no literal
        return False
    return isinstance(values[0], str | tuple) and bool(_renamed(values[0], names) == values[1])


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
    if isinstance(value, tuple):  # names of parameters; or one instruction for two variables, from Python 3.13 on
        return tuple(_renamed(item, names) for item in value)
    return names.get(value, value) if isinstance(value, str) else value

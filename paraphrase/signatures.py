"""What callers see of a function: its name, and how many arguments of which kind it takes."""

import ast
import warnings
from dataclasses import dataclass

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Signature:
    """What callers depend on, the names of parameters apart.

    Args:
        name: The function's name.
        is_async: Whether it is a coroutine.
        kinds: How many parameters are positional only, positional, and by keyword only.
        defaults: How many of the positional ones, and which of those by keyword, have a default.
        rest: Whether it takes any further positional arguments, and any further keywords.
    """

    name: str
    is_async: bool
    kinds: tuple[int, int, int]
    defaults: tuple[int, tuple[bool, ...]]
    rest: tuple[bool, bool]


def signature_difference(before: str, after: str) -> str | None:
    """Why callers can't tell the first function from the second no more, or None.

    None as well where the running interpreter can't read the first text, such as Python 2, or it is not one function.
    """
    first = _only_function(before)
    if first is None:
        return None
    second = _only_function(after)
    if second is None:
        return "not one function any more"
    one, other = _signature(first), _signature(second)
    if one.name != other.name:
        return "another function name"
    return "other parameters" if one != other else None


def _only_function(code: str) -> _Function | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
        try:
            body = ast.parse(code).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return body[0] if len(body) == 1 and isinstance(body[0], _Function) else None


def _signature(function: _Function) -> Signature:
    given = function.args
    return Signature(
        name=function.name,
        is_async=isinstance(function, ast.AsyncFunctionDef),
        kinds=(len(given.posonlyargs), len(given.args), len(given.kwonlyargs)),
        defaults=(len(given.defaults), tuple(default is not None for default in given.kw_defaults)),
        rest=(given.vararg is not None, given.kwarg is not None),
    )

"""In which order Python goes: what it evaluates first, and where it never comes to the end."""

import ast
from collections.abc import Sequence


def first_evaluated(node: ast.expr) -> ast.expr:
    """The part of an expression that is evaluated before anything else of it."""
    while True:
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner) | ast.BinOp(left=inner):
                node = inner
            case ast.Compare(left=inner):
                node = inner
            case _:
                return node


def leaves(statements: Sequence[ast.stmt]) -> bool:
    """Whether control never comes to the end of these statements."""
    match statements[-1]:
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
            return True
        case ast.If(body=body, orelse=orelse):
            return bool(orelse) and leaves(body) and leaves(orelse)
        case _:
            return False

"""The opposite of a condition, as one would write it; right only where nothing but its truth counts."""

import ast
import re
from typing import NamedTuple

from clmeeval_data.paraphrase.rewrites.function_text import FunctionText

_OPPOSITES: dict[type[ast.cmpop], str] = {ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}
_LENGTH_OPPOSITES: dict[type[ast.cmpop], str] = {
    **{ast.Eq: "!=", ast.NotEq: "==", ast.Lt: ">="},
    **{ast.GtE: "<", ast.Gt: "<=", ast.LtE: ">"},
}
_OPERATOR = re.compile(r"not\s+in\b|in\b|is\s+not\b|is\b|[<>=!]=?")


class Condition(NamedTuple):
    """The text of a condition, and how tightly it binds: see ``level``."""

    text: str
    level: int


OR, AND, NOT, COMPARISON, TIGHTER = range(5)


def level(node: ast.expr) -> int:
    """How tightly an expression binds: below ``OR`` what needs parentheses beside any operator."""
    match node:
        case ast.NamedExpr() | ast.Lambda() | ast.IfExp() | ast.Yield() | ast.YieldFrom() | ast.Starred():
            return -1
        case ast.Tuple():
            return -1  # without parentheses of its own
        case ast.BoolOp(op=operator):
            return OR if isinstance(operator, ast.Or) else AND
        case ast.UnaryOp(op=ast.Not()):
            return NOT
        case ast.Compare():
            return COMPARISON
        case _:
            return TIGHTER


def plain(text: FunctionText, node: ast.expr) -> Condition | None:
    """The expression as it is written; None where it takes several lines."""
    segment = text.segment(node)
    if "\n" in segment:
        return None
    is_closed = isinstance(node, ast.Tuple) and _is_in_parentheses(segment)
    return Condition(segment, TIGHTER if is_closed else level(node))


def _is_in_parentheses(segment: str) -> bool:
    """Whether the parentheses around a tuple are its own: not in ``(a), (b)``."""
    try:
        ast.parse(segment[1:-1].strip() or "()")
    except SyntaxError:
        return False
    return segment.startswith("(")


def embraced(condition: Condition, least: int) -> str:
    """The text, in parentheses if it binds less tightly than needed."""
    return condition.text if condition.level >= least else f"({condition.text})"


def negated(text: FunctionText, test: ast.expr) -> Condition | None:
    """The opposite of a test, or None where there is no natural one, or none that is certain for all types.

    ``a == b`` and ``a < b`` have none, since their types decide what ``!=`` and ``>=`` mean.
    """
    segment = text.segment(test)
    if "\n" in segment or text.has_comment(text.start(test), text.end(test)):
        return None
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return plain(text, operand)
        case ast.Compare():
            return _negated_comparison(text, test)
        case ast.BoolOp():
            return _negated_both(text, test)
        case ast.Name() | ast.Attribute() | ast.Call() | ast.Subscript() | ast.BinOp():
            return Condition(f"not {segment}", NOT)
        case _:
            return None


def is_negative(test: ast.expr) -> bool:
    """Whether a test says that something is not the case."""
    match test:
        case ast.UnaryOp(op=ast.Not()) | ast.Compare(ops=[ast.IsNot() | ast.NotIn()]):
            return True
        case _:
            return False


def with_operator(text: FunctionText, test: ast.Compare, operator: str) -> str | None:
    """A comparison of two operands with another operator between them."""
    start, end = text.end(test.left), text.start(test.comparators[0])
    between = text.between(start, end)
    if len(found := _OPERATOR.findall(between)) != 1:
        return None
    whole = text.segment(test)
    place = between.index(found[0])
    before = text.between(text.start(test), start) + between[:place]
    after = between[place + len(found[0]) :] + text.between(end, text.end(test))
    return None if "\n" in whole else before + operator + after


def _negated_comparison(text: FunctionText, test: ast.Compare) -> Condition | None:
    if len(test.ops) != 1:
        return None
    operator = _OPPOSITES.get(type(test.ops[0]))
    if operator is None and is_length(text, test.left) and is_whole_number(test.comparators[0]):
        is_zero = getattr(test.comparators[0], "value", None) == 0
        operator = "==" if is_zero and isinstance(test.ops[0], ast.Gt) else _LENGTH_OPPOSITES[type(test.ops[0])]
    written = None if operator is None else with_operator(text, test, operator)
    return None if written is None else Condition(written, COMPARISON)


def _negated_both(text: FunctionText, test: ast.BoolOp) -> Condition:
    parts = [negated(text, value) for value in test.values]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not any(is_negative(value) for value in test.values):
        return Condition(f"not ({text.segment(test)})", NOT)
    return joined(known, "and" if isinstance(test.op, ast.Or) else "or")


def joined(parts: list[Condition], word: str) -> Condition:
    """Conditions joined by ``and`` or ``or``."""
    own = AND if word == "and" else OR
    return Condition(f" {word} ".join(embraced(part, max(own, AND)) for part in parts), own)


def is_length(text: FunctionText, node: ast.expr) -> bool:
    """Whether the expression is a call of the builtin ``len``, hence a whole number."""
    match node:
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]):
            return not isinstance(argument, ast.Starred) and text.is_builtin("len")
        case _:
            return False


def is_whole_number(node: ast.expr) -> bool:
    """Whether the expression is an integer as written."""
    return isinstance(node, ast.Constant) and type(node.value) is int


def is_truth_value(text: FunctionText, node: ast.expr) -> bool:
    """Whether the expression is certain to be True or False, and nothing that is merely true or false."""
    match node:
        case ast.UnaryOp(op=ast.Not()) | ast.Constant(value=True | False):
            return True
        case ast.Compare(ops=[operator]) if isinstance(operator, ast.Is | ast.IsNot | ast.In | ast.NotIn):
            return True
        case ast.Compare(left=left, comparators=[right]):
            return is_length(text, left) and is_whole_number(right)
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "hasattr" | "callable" | "bool" as name)):
            return text.is_builtin(name)
        case ast.BoolOp(values=values):
            return all(is_truth_value(text, value) for value in values)
        case _:
            return False

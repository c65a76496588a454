"""Choosing between two values: conditional expressions, ``if`` and ``else``, a default first, ``x or y``."""

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.negation import Condition, embraced, is_negative, is_truth_value, negated, plain
from clmeeval_data.paraphrase.rewrites.order import first_evaluated
from clmeeval_data.paraphrase.rewrites.visibility import is_seen_only_after

_LONGEST = 88  # characters of a line with a new conditional expression
_TERNARY = 0  # what stands beside ``if`` and ``else`` in a conditional expression binds at least like ``or``


def find(text: FunctionText, choice: Choice) -> Iterator[Site]:
    """Every statement that chooses between two values."""
    for suite in text.suites:
        for place, node in enumerate(suite.statements):
            rest = suite.statements[place + 1 :]
            if isinstance(node, ast.If) and not text.is_elif(node):
                site = _condensed(text, node, rest)
            elif isinstance(node, ast.Return | ast.Assign) and text.has_own_lines([node]):
                site = _expanded(text, node, choice) or _with_default_first(text, suite.statements, place)
            else:
                site = None
            if site is not None:
                yield site


def _expanded(text: FunctionText, node: ast.Return | ast.Assign, choice: Choice) -> Site | None:
    """``return a if c else b`` and ``x = a if c else b`` as statements; ``x = x or y`` as ``if not x: x = y``."""
    if text.has_comment(text.start(node), text.end(node)):
        return None
    value, opening = node.value, _opening(text, node)
    if opening is None:
        return None
    margin, line = text.margin(node.lineno), ""
    if isinstance(value, ast.IfExp):
        parts = [plain(text, part) for part in (value.test, value.body, value.orelse)]
        known = [part.text for part in parts if part is not None]
        if len(known) < len(parts) or any(_chooses(part) for part in (value.test, value.body, value.orelse)):
            return None
        if opening in (f"{known[1]} = ", f"{known[2]} = "):
            return _unless_kept(text, node, value, opening)
        test, first, second = known
        has_else = isinstance(node, ast.Assign) or choice.one_in(2, f"else {text.start(node)}")
        line = f"if {test}:\n{margin}{text.step}{opening}{first}\n{margin}"
        line += f"else:\n{margin}{text.step}{opening}{second}" if has_else else f"{opening}{second}"
    elif isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or) and len(value.values) == 2:
        name, other = value.values
        written = plain(text, other)
        if not _is_own(text, node, name) or opening != f"{text.segment(name)} = " or written is None:
            return None
        line = f"if not {text.segment(name)}:\n{margin}{text.step}{opening}{written.text}"
    return Site((Replacement(text.start(node), text.end(node), line),)) if line else None


def _unless_kept(text: FunctionText, node: ast.stmt, value: ast.IfExp, opening: str) -> Site | None:
    """``x = y if x is None else x`` as ``if x is None: x = y``; and the other way round."""
    name, test = value.body, value.test
    other, condition = value.orelse, negated(text, test)
    if text.segment(value.orelse) == opening.removesuffix(" = "):
        name, other, condition = value.orelse, value.body, plain(text, test)
    first = first_evaluated(test.operand if isinstance(test, ast.UnaryOp) else test)
    if condition is None or not _is_own(text, node, name) or text.segment(first) != text.segment(name):
        return None
    margin = text.margin(node.lineno)
    line = f"if {condition.text}:\n{margin}{text.step}{opening}{text.segment(other)}"
    return Site((Replacement(text.start(node), text.end(node), line),))


def _opening(text: FunctionText, node: ast.stmt) -> str | None:
    """What stands in front of the value of a statement; None where the statement is no such one, or has many lines."""
    match node:
        case ast.Return(value=value) if value is not None:
            return "return "
        case ast.Assign(targets=[ast.Name() | ast.Attribute(value=ast.Name()) as target]):
            return f"{text.segment(target)} = "
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(), slice=ast.Name() | ast.Constant()) as target]):
            return f"{text.segment(target)} = "
        case _:
            return None


def _chooses(node: ast.AST) -> bool:
    return any(isinstance(part, ast.IfExp | ast.Lambda | ast.Yield | ast.YieldFrom) for part in ast.walk(node))


def _is_own(text: FunctionText, node: ast.AST, name: ast.expr) -> bool:
    """Whether an expression is a variable that only this function sees."""
    scope = text.scope_of(node)
    return isinstance(name, ast.Name) and scope is not None and scope.is_private(name.id)


def _condensed(text: FunctionText, node: ast.If, rest: Sequence[ast.stmt]) -> Site | None:
    """``if c: return a`` / ``else: return b`` (or without ``else``) in one line, and the same for assignments."""
    if len(node.body) != 1 or not text.has_own_lines([node]):
        return None
    second: ast.stmt | None = None
    if len(node.orelse) == 1:
        second = node.orelse[0]
    elif not node.orelse and rest and isinstance(node.body[0], ast.Return):
        second = rest[0]
    last = node if node.orelse or second is None else second
    if text.has_comment(text.start(node), text.line_end(text.last_line(last))) or not text.has_own_lines([last]):
        return None
    line = _one_line(text, node, second)
    if line is None or len(text.margin(node.lineno)) + len(line) > _LONGEST:
        return None
    return Site((Replacement(text.start(node), text.end(last), line),))


def _one_line(text: FunctionText, node: ast.If, second: ast.stmt | None) -> str | None:
    first = node.body[0]
    opening = _opening(text, first)
    test = plain(text, node.test)
    if opening is None or test is None:
        return None
    if second is None:
        return _defaulted(text, node, opening)
    values = [value for part in (first, second) if (value := getattr(part, "value", None)) is not None]
    if len(values) < 2 or _opening(text, second) != opening or any(map(_chooses, [*values, node.test])):
        return None
    answers = [value.value if isinstance(value, ast.Constant) else None for value in values]
    if all(isinstance(answer, bool) for answer in answers):
        truth = _truth(text, node.test, answers[0] is True, answers[1] is True)
        return None if truth is None else opening + truth
    written = [plain(text, value) for value in values]
    if None in written:
        return None
    if isinstance(node.test, ast.UnaryOp) and (inner := plain(text, node.test.operand)) and is_negative(node.test):
        test, written = inner, written[::-1]
    parts = [embraced(part, _TERNARY) for part in (written[0], test, written[1]) if part is not None]
    return f"{opening}{parts[0]} if {parts[1]} else {parts[2]}"


def _truth(text: FunctionText, test: ast.expr, first: bool, second: bool) -> str | None:
    """``first`` if the test holds, else ``second``, as an expression; None where there is no natural one."""
    if first == second:
        return None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, first = test.operand, second
    if first and is_truth_value(text, test):
        return text.segment(test) if plain(text, test) else None
    if isinstance(test, ast.BoolOp):  # as a value, it would be asked for its truth twice
        return None
    if first:
        return f"bool({text.segment(test)})" if plain(text, test) and text.is_builtin("bool") else None
    opposite = negated(text, test)
    return None if opposite is None else opposite.text


def _defaulted(text: FunctionText, node: ast.If, opening: str) -> str | None:
    """``if not x: x = y`` as ``x = x or y``, and ``if x is None: x = y`` as ``x = y if x is None else x``."""
    first = node.body[0]
    if node.orelse or not isinstance(first, ast.Assign) or not _is_own(text, node, first.targets[0]):
        return None
    name = text.segment(first.targets[0])
    value = plain(text, first.value)
    if value is None or _chooses(first.value):
        return None
    match node.test:
        case ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=tested)) if tested == name:
            return f"{opening}{name} or {embraced(value, _TERNARY + 1)}"
        case ast.Compare(left=ast.Name(id=tested), ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            return f"{opening}{embraced(value, _TERNARY)} if {name} is None else {name}" if tested == name else None
        case _:
            return None


def _with_default_first(text: FunctionText, statements: Sequence[ast.stmt], place: int) -> Site | None:
    """``x = b`` / ``if c: x = a`` as ``x = a if c else b``, where ``b`` is a constant."""
    node = statements[place]
    following = statements[place + 1] if place + 1 < len(statements) else None
    match node, following:
        case (
            ast.Assign(targets=[ast.Name(id=name) as target], value=ast.Constant() as default),
            ast.If(test=test, body=[ast.Assign(targets=[ast.Name(id=again)]) as second], orelse=[]) as choosing,
        ) if name == again:
            value, condition = plain(text, second.value), plain(text, test)
        case _:
            return None
    used = {part.id for root in (test, second.value) for part in ast.walk(root) if isinstance(part, ast.Name)}
    if value is None or condition is None or name in used or not _is_own(text, node, target):
        return None
    if _chooses(test) or _chooses(second.value) or not is_seen_only_after(text, name, node):
        return None
    return _merged(text, node, choosing, _conditional(f"{name} = ", value, condition, text.segment(default)))


def _conditional(opening: str, value: Condition, test: Condition, other: str) -> str:
    return f"{opening}{embraced(value, _TERNARY)} if {embraced(test, _TERNARY)} else {other}"


def _merged(text: FunctionText, first: ast.stmt, last: ast.stmt, line: str) -> Site | None:
    """The site at which one line takes the place of two adjacent statements without comments."""
    end = text.line_end(text.last_line(last))
    if not text.has_own_lines([first, last]) or text.has_comment(text.start(first), end):
        return None
    if any(text.last_line(one) >= text.first_line(other) for one, other in pairwise([first, last])):
        return None
    if len(text.margin(first.lineno)) + len(line) > min(WIDTH, _LONGEST):
        return None
    return Site((Replacement(text.start(first), text.end(last), line),))

"""Conditions said another way: De Morgan's laws, ``x not in y``, ranges, constants on the right, several types at once.

What is evaluated, in which order and how often it is asked for its truth stay the same. Operands change sides only
where one is a constant: its type knows no other type, so that the same method of the other operand decides.
"""

import ast
from collections.abc import Iterable, Iterator

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.negation import (
    AND,
    COMPARISON,
    NOT,
    OR,
    TIGHTER,
    Condition,
    embraced,
    is_negative,
    joined,
    level,
    negated,
    plain,
    with_operator,
)

_MIRRORED: dict[type[ast.cmpop], str] = {ast.Lt: ">", ast.Gt: "<", ast.LtE: ">=", ast.GtE: "<=", ast.Eq: "=="}
_RISING: dict[type[ast.cmpop], str] = {ast.Lt: "<", ast.LtE: "<="}
_FALLING: dict[type[ast.cmpop], str] = {ast.Gt: "<", ast.GtE: "<="}
_CLASSES = frozenset({"int", "float", "complex", "str", "bytes", "bytearray", "list", "tuple", "dict", "set"})
_TYPES = _CLASSES | {"frozenset", "bool", "type", "object", "range", "slice", "memoryview", "property"}


def find(text: FunctionText, _choice: Choice) -> Iterator[Site]:
    """Every condition that has another form."""
    tests = set(truth_contexts(text.nodes))
    for node in text.nodes:
        if not isinstance(node, ast.UnaryOp | ast.BoolOp | ast.Compare | ast.Call) or node in text.in_f_strings:
            continue
        site = _changed(text, node, node in tests)
        if site is not None:
            yield site


def truth_contexts(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """The expressions of which only the truth counts, so that Python asks each operand for it once."""
    waiting: list[ast.expr] = []
    for node in nodes:
        match node:
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                waiting.append(test)
            case ast.comprehension(ifs=tests):
                waiting += tests
    while waiting:
        test = waiting.pop()
        yield test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            waiting.append(test.operand)
        elif isinstance(test, ast.BoolOp):
            waiting += test.values


def _changed(text: FunctionText, node: ast.expr, is_test: bool) -> Site | None:
    new: Condition | None = None
    rank = 0
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=ast.Compare(ops=[operator]) as operand):
            new = negated(text, operand) if isinstance(operator, ast.In | ast.Is) else None
        case ast.UnaryOp(op=ast.Not(), operand=ast.BoolOp() as operand) if is_test:
            new = _distributed(text, operand)
        case ast.BoolOp(values=values) if is_test and all(map(is_negative, values)):
            new = _gathered(text, node)
            rank = 0 if all(isinstance(value, ast.UnaryOp) for value in values) else 2
        case ast.BoolOp():
            new = _range(text, node) or _one_isinstance(text, node)
        case ast.Compare():
            new = _split_range(text, node) or _constant_right(text, node)
            rank = 2 if len(node.ops) > 1 and isinstance(text.parents[node], ast.BoolOp) else 0
        case ast.Call():
            new = _several_isinstance(text, node)
    return None if new is None else _site(text, node, new, rank)


def _site(text: FunctionText, node: ast.expr, new: Condition, rank: int) -> Site | None:
    written = embraced(new, _needed(text.parents[node], node))
    line = text.line_text(text.line_of(text.start(node)))
    if "\n" in text.segment(node) or len(line) - len(text.segment(node)) + len(written) > WIDTH:
        return None
    return Site((Replacement(text.start(node), text.end(node), written),), rank)


def _needed(parent: ast.AST, node: ast.expr) -> int:
    """How tightly an expression has to bind to stand in its place without parentheses."""
    match parent:
        case ast.BoolOp(op=operator):  # beside ``or`` there is no need, but ``a and b or c`` reads badly
            return AND if isinstance(operator, ast.And) else NOT
        case ast.UnaryOp(op=ast.Not()):
            return NOT
        case ast.Call() if node is parent.func:
            return TIGHTER
        case ast.stmt() | ast.keyword() | ast.Call() | ast.IfExp() | ast.comprehension():
            return OR
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict():
            return OR
    return TIGHTER


def _distributed(text: FunctionText, node: ast.BoolOp) -> Condition | None:
    """``not (a or b)``, given what stands in the parentheses, as ``not a and not b``."""
    parts = [negated(text, value) for value in node.values]
    known = [part for part in parts if part is not None]
    return None if len(known) < len(parts) else joined(known, "and" if isinstance(node.op, ast.Or) else "or")


def _gathered(text: FunctionText, node: ast.BoolOp) -> Condition | None:
    """``not a and not b`` as ``not (a or b)``."""
    parts = [negated(text, value) for value in node.values]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    inside = joined(known, "or" if isinstance(node.op, ast.And) else "and")
    return Condition(f"not ({inside.text})", NOT)


def _range(text: FunctionText, node: ast.BoolOp) -> Condition | None:
    """``a <= x and x < b`` as ``a <= x < b``, where ``x`` is a variable that nothing can change in between."""
    if not isinstance(node.op, ast.And) or len(node.values) != 2:
        return None
    low, high = (_rising(text, value) for value in node.values)
    if low is None or high is None or low[2] != high[0] or not _is_private(text, node, low[2]):
        return None
    return Condition(f"{low[0]} {low[1]} {low[2]} {high[1]} {high[2]}", COMPARISON)


def _rising(text: FunctionText, node: ast.expr) -> tuple[str, str, str] | None:
    """A comparison as smaller side, operator, larger side."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return None
    left, right = plain(text, node.left), plain(text, node.comparators[0])
    if left is None or right is None or min(left.level, right.level) <= COMPARISON:
        return None
    if type(node.ops[0]) in _RISING:
        return left.text, _RISING[type(node.ops[0])], right.text
    if type(node.ops[0]) in _FALLING and is_constant(node.comparators[0]):
        return right.text, _FALLING[type(node.ops[0])], left.text
    return None


def _split_range(text: FunctionText, node: ast.Compare) -> Condition | None:
    """``a <= x < b`` as ``a <= x and x < b``."""
    if len(node.ops) != 2 or not all(type(operator) in _RISING for operator in node.ops):
        return None
    low, middle, high = (plain(text, part) for part in (node.left, *node.comparators))
    if low is None or middle is None or high is None or min(low.level, middle.level, high.level) <= COMPARISON:
        return None
    if not _is_private(text, node, middle.text):
        return None
    first = f"{low.text} {_RISING[type(node.ops[0])]} {middle.text}"
    if is_constant(node.left):
        first = f"{middle.text} {_MIRRORED[type(node.ops[0])]} {low.text}"
    return Condition(f"{first} and {middle.text} {_RISING[type(node.ops[1])]} {high.text}", AND)


def _is_private(text: FunctionText, node: ast.AST, name: str) -> bool:
    scope = text.scope_of(node)
    return scope is not None and name.isidentifier() and scope.is_private(name)


def _constant_right(text: FunctionText, node: ast.Compare) -> Condition | None:
    """``0 < x`` as ``x > 0``."""
    if len(node.ops) != 1 or type(node.ops[0]) not in _MIRRORED:
        return None
    left, right = node.left, node.comparators[0]
    if not is_constant(left) or is_constant(right) or level(right) <= COMPARISON:
        return None
    turned = with_operator(text, node, _MIRRORED[type(node.ops[0])])
    if turned is None or text.segment(node) != text.between(text.start(left), text.end(right)):
        return None
    written = f"{text.segment(right)} {_MIRRORED[type(node.ops[0])]} {text.segment(left)}"
    return Condition(written, COMPARISON)


def is_constant(node: ast.expr) -> bool:
    """Whether the expression is a number, a string, None, True or False as written."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
        return isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return isinstance(node, ast.Constant) and node.value is not Ellipsis


def _several_isinstance(text: FunctionText, node: ast.Call) -> Condition | None:
    """``isinstance(x, (int, str))`` as ``isinstance(x, int) or isinstance(x, str)``."""
    match node:
        case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=name), ast.Tuple(elts=classes)], keywords=[]):
            names = [kind.id for kind in classes if isinstance(kind, ast.Name) and _is_type(text, kind.id)]
            if len(names) != len(classes) or len(names) != 2 or not _is_private(text, node, name):
                return None
            return Condition(" or ".join(f"isinstance({name}, {kind})" for kind in names), 0)
        case _:
            return None


def _one_isinstance(text: FunctionText, node: ast.BoolOp) -> Condition | None:
    """``isinstance(x, int) or isinstance(x, str)`` as ``isinstance(x, (int, str))``."""
    found = []
    for value in node.values:
        match value:
            case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=name), ast.Name(id=kind)], keywords=[]):
                found.append((name, kind))
    names = {name for name, _ in found}
    is_plain = isinstance(node.op, ast.Or) and len(found) == len(node.values) and len(names) == 1
    if not is_plain or not all(_is_type(text, kind) for _, kind in found) or not _is_private(text, node, found[0][0]):
        return None
    return Condition(f"isinstance({found[0][0]}, ({', '.join(kind for _, kind in found)}))", level(node.values[0]))


def _is_type(text: FunctionText, name: str) -> bool:
    return name in _TYPES and text.is_builtin(name) and text.is_builtin("isinstance")

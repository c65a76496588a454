"""The normal form of control flow: what follows a branch that leaves goes into the other one, values are not chosen."""

import ast
import builtins
from collections.abc import Sequence

from clmeeval_data.paraphrase.normal.expressions import Expressions
from clmeeval_data.paraphrase.normal.facts import Facts


class Flow:
    """Brings the control flow of a suite into its normal form."""

    def __init__(self, facts: Facts, expressions: Expressions) -> None:
        self._facts = facts
        self._expressions = expressions

    def apply(self, suite: list[ast.stmt], way_out: type[ast.stmt] | None) -> None:
        """Rewrite one suite in place, not those inside its statements, but for what moves between them.

        Args:
            suite: The statements.
            way_out: What does the same at the end of this suite as coming to its end: ``return`` in a function,
                ``continue`` in a loop.
        """
        suite[:] = [self._expanded(statement) for statement in suite]
        self._nest(suite)
        if way_out is not None:
            _strip(suite, way_out)
        suite[:] = [statement for statement in suite if not isinstance(statement, ast.Pass)]
        for statement in suite:
            if isinstance(statement, ast.If):
                self._turn(statement)
            if isinstance(statement, ast.While):
                statement.test = self._expressions.test(statement.test)
                always = isinstance(statement.test, ast.Constant) and bool(statement.test.value)
                statement.test = ast.Constant(True) if always else statement.test

    def _expanded(self, node: ast.stmt) -> ast.stmt:
        """A choice between two values as a choice between two statements; ``raise E`` for ``raise E()``."""
        match node:
            case ast.Return(value=ast.Constant(value=None)):
                return ast.Return(None)
            case ast.Return(value=value) if value is not None:
                first = value.values[0] if isinstance(value, ast.BoolOp) else None
                name = first.id if isinstance(first, ast.Name) and first.id in self._facts.private else ""
                choice = self._choice(value, name)
                return node if choice is None else _if(choice[0], [ast.Return(choice[1])], [ast.Return(choice[2])])
            case ast.Assign(targets=[target], value=value):
                name = target.id if isinstance(target, ast.Name) and target.id in self._facts.private else ""
                choice = self._choice(value, name)
                if choice is None:
                    return node
                made = [[] if _is(part, name) else [ast.Assign([target], part)] for part in choice[1:]]
                return _if(choice[0], made[0], made[1])
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name) as raised, args=[], keywords=[])):
                error = getattr(builtins, name, None)
                if isinstance(error, type) and issubclass(error, Exception) and self._facts.is_builtin(name):
                    return ast.Raise(raised, node.cause)
        return node

    def _choice(self, value: ast.expr, name: str) -> tuple[ast.expr, ast.expr, ast.expr] | None:
        """A condition, and the values with and without it, for an expression that is evaluated the same way.

        ``name`` is a private variable that is going to hold the value, or "".
        """
        match value:
            case ast.IfExp(test=test, body=body, orelse=orelse):
                keeps = bool(name) and any(_is(part, name) for part in (body, orelse))
                return None if keeps and not _begins_with(test, name) else (test, body, orelse)
            case ast.BoolOp(op=ast.Or(), values=[ast.Name(id=first) as kept, *others]) if name and first == name:
                return kept, kept, others[0] if len(others) == 1 else ast.BoolOp(ast.Or(), others)
            case ast.Call(func=ast.Name(id="bool"), args=[inner], keywords=[]) if self._facts.is_builtin("bool"):
                is_plain = not isinstance(inner, ast.BoolOp | ast.Starred | ast.UnaryOp) or self._expressions.is_truth(
                    inner
                )
                is_plain = is_plain and not (isinstance(inner, ast.Compare) and len(inner.ops) > 1)
                return (inner, ast.Constant(True), ast.Constant(False)) if is_plain else None
            case _:
                return (value, ast.Constant(True), ast.Constant(False)) if self._expressions.is_truth(value) else None

    def _nest(self, suite: list[ast.stmt]) -> None:
        """Move what follows an ``if`` of which one branch leaves into the other branch."""
        for place, node in enumerate(suite[:-1]):
            if isinstance(node, ast.If) and _leaves(node.body) != _leaves(node.orelse):
                other = node.orelse if _leaves(node.body) else node.body
                other += suite[place + 1 :]
                del suite[place + 1 :]
                self._nest(other)
                return

    def _turn(self, node: ast.If) -> None:
        """No empty branch in front, one test for two that are nested, and the condition that comes first."""
        node.body = [part for part in node.body if not isinstance(part, ast.Pass)]
        node.orelse = [part for part in node.orelse if not isinstance(part, ast.Pass)]
        test, opposite = self._expressions.test(node.test), self._expressions.test(node.test, holds=False)
        if not node.body and node.orelse:
            test, node.body, node.orelse = opposite, node.orelse, []
        elif node.orelse and ast.dump(opposite) < ast.dump(test):
            test, node.body, node.orelse = opposite, node.orelse, node.body
        match node.body:
            case [ast.If(test=inner, body=body, orelse=[])] if not node.orelse and body:
                test, node.body = self._expressions.test(ast.BoolOp(ast.And(), [test, inner])), body
        node.test = test
        node.body = node.body or [ast.Pass()]


def _if(test: ast.expr, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> ast.If:
    return ast.If(test, list(body), list(orelse))


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _begins_with(test: ast.expr, name: str) -> bool:
    """Whether a condition reads this name before anything else."""
    match test:
        case ast.UnaryOp(operand=inner) | ast.Compare(left=inner):
            return _begins_with(inner, name)
        case _:
            return _is(test, name)


def _leaves(suite: Sequence[ast.stmt]) -> bool:
    """Whether control never comes to the end of these statements."""
    if not suite:
        return False
    last = suite[-1]
    if isinstance(last, ast.If):
        return _leaves(last.body) and _leaves(last.orelse)
    return isinstance(last, ast.Return | ast.Raise | ast.Continue | ast.Break)


def _strip(suite: list[ast.stmt], way_out: type[ast.stmt]) -> None:
    """Remove what leaves at a place from which control would come to the same place anyway."""
    while suite and isinstance(suite[-1], way_out) and getattr(suite[-1], "value", None) is None:
        suite.pop()
    if suite and isinstance(suite[-1], ast.If):
        _strip(suite[-1].body, way_out)
        _strip(suite[-1].orelse, way_out)

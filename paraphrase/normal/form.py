"""The normal form of a whole text: all steps, again and again, until none of them changes anything."""

import ast
import warnings
from functools import lru_cache

from clmeeval_data.paraphrase.normal.bindings import Bindings, FunctionNode
from clmeeval_data.paraphrase.normal.expressions import Expressions
from clmeeval_data.paraphrase.normal.facts import Facts
from clmeeval_data.paraphrase.normal.flow import Flow

_MOST_ROUNDS = 25
_CATCHING = (ast.Try, ast.TryStar, ast.With, ast.AsyncWith)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


@lru_cache(maxsize=8)
def normal_form(code: str) -> str | None:
    """A text that is equal for two codes only if both do the same for all inputs; None where there is none.

    There is none where the code isn't valid Python for the running interpreter, or is nested too deeply.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
        try:
            tree = ast.parse(code)
            compile(tree, "<code>", "exec", dont_inherit=True)
            return _settled(tree, Facts(code, tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _settled(tree: ast.Module, facts: Facts) -> str | None:
    expressions = Expressions(facts)
    flow = Flow(facts, expressions)
    before = ""
    for _ in range(_MOST_ROUNDS):
        tree = expressions.visit(tree)
        for function in [node for node in ast.walk(tree) if isinstance(node, FunctionNode)]:
            _round(function, Bindings(facts, function), flow)
        after = ast.dump(tree)
        if after == before:
            return after
        before = after
    return None


def _round(function: FunctionNode, bindings: Bindings, flow: Flow) -> None:
    """Every step once for every suite of a function, inner ones first; not for functions and classes inside it."""
    waiting: list[tuple[ast.AST, bool]] = [(function, False)]
    holders: list[tuple[ast.AST, bool]] = []
    while waiting:
        node, guarded = waiting.pop()
        holders.append((node, guarded))
        inside = guarded or isinstance(node, _CATCHING)
        waiting.extend((child, inside) for child in ast.iter_child_nodes(node) if _holds_statements(child))
    for node, guarded in reversed(holders):
        for field in ("body", "orelse", "finalbody"):
            suite = getattr(node, field, None)
            if isinstance(suite, list) and suite:
                bindings.shorten(suite, guarded or isinstance(node, _CATCHING))
                flow.apply(suite, _way_out(node, field))
                bindings.apply(suite, guarded or isinstance(node, _CATCHING))
                if not suite and field == "body":
                    suite.append(ast.Pass())


def _holds_statements(node: ast.AST) -> bool:
    is_statement = isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case)
    return is_statement and not isinstance(node, FunctionNode | ast.ClassDef)


def _way_out(node: ast.AST, field: str) -> type[ast.stmt] | None:
    if field != "body":
        return None
    if isinstance(node, FunctionNode):
        return ast.Return
    return ast.Continue if isinstance(node, _LOOPS) else None

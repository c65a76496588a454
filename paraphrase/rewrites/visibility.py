"""Who sees a variable when an exception comes in the middle of a statement."""

import ast

from clmeeval_data.paraphrase.rewrites.function_text import FunctionText

_CATCHING = (ast.Try, ast.TryStar, ast.With, ast.AsyncWith)


def is_seen_only_after(text: FunctionText, name: str, assignment: ast.stmt) -> bool:
    """Whether it makes no difference what a private variable holds if an exception comes just before or after this.

    True where no ``try`` or ``with`` around the assignment could go on after the exception; or where each of these goes
    on at a place from which every way to a use of the variable leads through the assignment, because all uses stand
    behind it in the same suite.
    """
    around = [node for node in _inside_function(text, assignment) if isinstance(node, _CATCHING)]
    if not around:
        return True
    scope = text.scope_of(assignment)
    holder = text.parents[assignment]
    suite = next(found for found in _lists(holder) if assignment in found)
    behind = {part for statement in suite[suite.index(assignment) :] for part in ast.walk(statement)}
    return scope is not None and all(place in behind for place in scope.places(name))


def _inside_function(text: FunctionText, node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for around in text.ancestors(node):
        if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef):
            return found
        found.append(around)
    return found


def _lists(holder: ast.AST) -> list[list[ast.AST]]:
    return [value for _, value in ast.iter_fields(holder) if isinstance(value, list)]

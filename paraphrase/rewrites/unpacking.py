"""Several variables set in one assignment, or in one each."""

import ast
from collections.abc import Iterator, Sequence

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.conditions import is_constant
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.negation import OR, embraced, plain
from clmeeval_data.paraphrase.rewrites.scope import Scope

_LONGEST = 60  # characters of a line with several values


def find(text: FunctionText, _choice: Choice) -> Iterator[Site]:
    """Every assignment of a tuple, of one value to several variables, and pairs of simple assignments."""
    for suite in text.suites:
        for place, node in enumerate(suite.statements):
            if not isinstance(node, ast.Assign) or not text.has_own_lines([node]):
                continue
            if (scope := text.scope_of(node)) is None:
                continue
            following = suite.statements[place + 1] if place + 1 < len(suite.statements) else None
            for site in (
                _split(text, scope, node),
                _unchained(text, scope, node),
                _paired(text, scope, node, following),
            ):
                if site is not None:
                    yield site


def _split(text: FunctionText, scope: Scope, node: ast.Assign) -> Site | None:
    """``a, b = x, y`` as ``a = x`` / ``b = y``, where ``y`` can't fail and doesn't depend on ``a``."""
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            names = _private(scope, targets)
        case _:
            return None
    if names is None or len(values) != len(names) or not all(_is_sure(scope, value, names) for value in values[1:]):
        return None
    written = [plain(text, value) for value in values]
    if text.has_comment(text.start(node), text.end(node)) or isinstance(values[0], ast.Starred):
        return None
    pairs = [(name, part.text) for name, part in zip(names, written, strict=True) if part is not None]
    return _lines(text, node, pairs) if len(pairs) == len(names) else None


def _lines(text: FunctionText, node: ast.Assign, pairs: Sequence[tuple[str, str]]) -> Site:
    lines = f"\n{text.margin(node.lineno)}".join(f"{name} = {value}" for name, value in pairs)
    return Site((Replacement(text.start(node), text.end(node), lines),))


def _private(scope: Scope, targets: Sequence[ast.expr]) -> list[str] | None:
    """The names of the targets, if all are different variables of this function alone."""
    names = [target.id for target in targets if isinstance(target, ast.Name) and scope.is_private(target.id)]
    return names if len(names) == len(targets) == len(set(names)) else None


def _is_sure(scope: Scope, value: ast.expr, changed: Sequence[str]) -> bool:
    """Whether evaluating this can't fail and depends on none of the names."""
    match value:
        case ast.Name(id=name):
            return name not in changed and scope.is_always_set(name)
        case ast.List(elts=[]) | ast.Dict(keys=[]) | ast.Tuple(elts=[]):
            return True
        case _:
            return is_constant(value)


def _unchained(text: FunctionText, scope: Scope, node: ast.Assign) -> Site | None:
    """``a = b = 0`` as ``a = 0`` / ``b = 0``."""
    names = _private(scope, node.targets)
    value = plain(text, node.value)
    if names is None or len(names) < 2 or value is None or not is_constant(node.value):
        return None
    if text.has_comment(text.start(node), text.end(node)):
        return None
    return _lines(text, node, [(name, value.text) for name in names])


def _paired(text: FunctionText, scope: Scope, node: ast.Assign, following: ast.stmt | None) -> Site | None:
    """``a = x`` / ``b = y`` as ``a, b = x, y``, where both can't fail and ``y`` doesn't depend on ``a``."""
    if not isinstance(following, ast.Assign) or len(node.targets) + len(following.targets) != 2:
        return None
    names = _private(scope, [*node.targets, *following.targets])
    if names is None or not text.has_own_lines([following]) or following.lineno <= text.last_line(node):
        return None
    sure = [_is_sure(scope, value, names) for value in (node.value, following.value)]
    values = [plain(text, value) for value in (node.value, following.value)]
    end = text.line_end(text.last_line(following))
    if not all(sure) or None in values or text.has_comment(text.start(node), end):
        return None
    line = f"{', '.join(names)} = {', '.join(embraced(value, OR) for value in values if value is not None)}"
    if len(text.margin(node.lineno) + line) > min(WIDTH, _LONGEST):
        return None
    return Site((Replacement(text.start(node), text.end(following), line),))

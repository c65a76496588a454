"""A variable for what is returned, or for what it is made from; or without it, where there was one."""

import ast
from collections.abc import Iterator, Sequence

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.naming import RESERVED, fresh_name, named_after
from clmeeval_data.paraphrase.rewrites.negation import TIGHTER, level
from clmeeval_data.paraphrase.rewrites.order import first_evaluated

_KINDS: dict[type[ast.expr], tuple[str, ...]] = {
    ast.ListComp: ("items", "collected", "found"),
    ast.List: ("items", "parts"),
    ast.Dict: ("mapping", "fields", "info"),
    ast.DictComp: ("mapping", "fields"),
    ast.JoinedStr: ("text", "formatted"),
}
_WORTH_A_NAME = (
    *(ast.Call, ast.BinOp, ast.ListComp, ast.SetComp, ast.DictComp, ast.Dict, ast.JoinedStr, ast.Compare, ast.BoolOp),
    *(ast.IfExp, ast.Subscript, ast.Await, ast.List),
)
_CATCHING = (ast.Try, ast.TryStar, ast.With, ast.AsyncWith)


def find(text: FunctionText, choice: Choice) -> Iterator[Site]:
    """Every return that can do with a variable more or less, and assignments of attributes that can do with one."""
    for suite in text.suites:
        for place, node in enumerate(suite.statements):
            site: Site | None = None
            if isinstance(node, ast.Assign) and text.has_own_lines([node]):
                site = _passed_on(text, node, choice)
            elif isinstance(node, ast.Return) and node.value is not None and text.has_own_lines([node]):
                before = suite.statements[place - 1] if place else None
                site = _inlined(text, before, node) or _in_branches(text, before, node)
                site = site or _split(text, node, choice) or _named(text, node, choice)
            if site is not None:
                yield site


def _in_branches(text: FunctionText, before: ast.stmt | None, node: ast.Return) -> Site | None:
    """``if a: x = b`` / ``else: x = c`` / ``return x`` as ``if a: return b`` / ``else: return c``."""
    if not isinstance(before, ast.If) or not isinstance(node.value, ast.Name) or not text.has_own_lines([before]):
        return None
    scope, last = text.scope_of(node), _last_assignments(before, node.value.id)
    if scope is None or last is None or not scope.is_private(node.value.id):
        return None
    is_caught = any(isinstance(around, _CATCHING) for around in text.ancestors(node))
    if is_caught or text.has_comment(text.line_end(text.last_line(before)), text.line_end(node.lineno)):
        return None
    parts = [Replacement(text.line_end(text.last_line(before)), text.end(node), "")]
    for assignment in last:
        if not text.has_own_lines([assignment]) or isinstance(assignment.value, ast.Yield | ast.YieldFrom):
            return None
        start = text.start(assignment)
        value = _value_start(text, assignment)
        column = start - text.line_start(assignment.lineno) + len("return ")
        written = text.reflowed(value, text.end(assignment), column)
        parts.append(Replacement(start, text.end(assignment), f"return {written}"))
    return Site(tuple(parts), 1)


def _last_assignments(node: ast.If, name: str) -> list[ast.Assign] | None:
    """The assignments to this variable with which all branches end; None where one of them ends otherwise."""
    found: list[ast.Assign] = []
    for branch in (node.body, node.orelse):
        match branch:
            case [*_, ast.Assign(targets=[ast.Name(id=target)]) as last] if target == name:
                found.append(last)
            case [ast.If() as inner] if (more := _last_assignments(inner, name)) is not None:
                found += more
            case _:
                return None
    return found


def _value_start(text: FunctionText, node: ast.Assign) -> int:
    """Where the value of an assignment starts, with the parentheses around it."""
    start = next(token.end for token in text.tokens_from(text.end(node.targets[-1])) if token.text == "=")
    return start + text.between(start, text.end(node)).startswith(" ")


def _inlined(text: FunctionText, before: ast.stmt | None, node: ast.Return) -> Site | None:
    """``x = e`` / ``return x`` as ``return e``; also where the expression returned begins with ``x``."""
    match before:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if node.value is not None:
            first = first_evaluated(node.value)
        case _:
            return None
    scope = text.scope_of(node)
    if scope is None or not scope.is_private(name) or not isinstance(first, ast.Name) or first.id != name:
        return None
    is_whole = first is node.value
    if not is_whole and (level(value) < TIGHTER or not isinstance(value, ast.Call | ast.Attribute | ast.Subscript)):
        return None
    used = [place for place in scope.places(name) if place not in (before.targets[0], first)]
    returned = {place for place in ast.walk(node) if isinstance(place, ast.Name) and place.id == name}
    is_caught = any(isinstance(around, _CATCHING) for around in text.ancestors(node))
    if len(returned) != 1 or (is_caught and (used or not is_whole)) or text.last_line(before) >= node.lineno:
        return None
    return _without_variable(text, before, value, node, first)


def _without_variable(
    text: FunctionText, before: ast.Assign, value: ast.expr, node: ast.Return, first: ast.Name
) -> Site | None:
    end = text.line_end(text.last_line(node))
    if not text.has_own_lines([before, node]) or text.has_comment(text.start(before), end):
        return None
    if first is node.value:
        start = _value_start(text, before)
        shift = text.start(node) - text.line_start(node.lineno) + len("return ")
        line = "return " + text.reflowed(start, text.end(before), shift)
    else:
        head = text.between(text.start(node), text.start(first))
        line = head + text.segment(value) + text.between(text.end(first), text.end(node))
        if "\n" in text.segment(value):
            return None
    is_bare = isinstance(value, ast.Yield | ast.YieldFrom)
    if is_bare or len(text.margin(node.lineno) + line.split("\n")[0]) > WIDTH:
        return None
    return Site((Replacement(text.start(before), text.end(node), line),))


def _named(text: FunctionText, node: ast.Return, choice: Choice) -> Site | None:
    """``return e`` as ``x = e`` / ``return x``."""
    value = node.value
    if value is None or not isinstance(value, (*_WORTH_A_NAME, ast.Attribute)) or _is_empty(value):
        return None
    name = fresh_name(text, choice, _candidates(value))
    start = text.start(node) + len("return")
    start += text.between(start, text.end(node)).startswith(" ")
    line = f"{name} = " + text.reflowed(
        start, text.end(node), text.start(node) - text.line_start(node.lineno) + len(f"{name} = ")
    )
    rank = 2 if isinstance(value, ast.Attribute) else 1
    widest = max(WIDTH, len(text.line_text(node.lineno)) + len(name))
    if len(text.margin(node.lineno) + line.split("\n")[0]) > widest:
        return None
    return Site(
        (Replacement(text.start(node), text.end(node), f"{line}\n{text.margin(node.lineno)}return {name}"),), rank
    )


def _is_empty(value: ast.expr) -> bool:
    match value:
        case ast.List(elts=[]) | ast.Dict(keys=[]) | ast.Call(func=ast.Name(id="list" | "dict" | "set"), args=[]):
            return True
        case _:
            return False


def _passed_on(text: FunctionText, node: ast.Assign, choice: Choice) -> Site | None:
    """``self.a = f(x)`` as ``a = f(x)`` / ``self.a = a``, the same for ``a[b]``."""
    match node:
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(), attr=attribute) as target], value=ast.Call()):
            name, rank = attribute.strip("_"), 1
        case ast.Assign(targets=[ast.Subscript() as target], value=ast.Call() | ast.Tuple() | ast.BinOp()):
            name, rank = fresh_name(text, choice, ("entry", "value")), 2
        case _:
            return None
    if (
        text.scope_of(node) is None
        or name in text.variables
        or name in RESERVED
        or not name.isidentifier()
        or len(name) < 3
        or not name.islower()
    ):
        return None
    start = _value_start(text, node)
    margin = text.margin(node.lineno)
    value = text.reflowed(start, text.end(node), len(f"{margin}{name} = "))
    line = f"{name} = {value}\n{margin}{text.segment(target)} = {name}"
    return Site((Replacement(text.start(node), text.end(node), line),), rank)


def _candidates(value: ast.expr) -> Sequence[str]:
    if isinstance(value, ast.Await):
        value = value.value
    if isinstance(value, ast.Attribute):
        return (value.attr.strip("_"),) if len(value.attr) > 3 and value.attr.islower() else ()
    if isinstance(value, ast.Call):
        if isinstance(value.func, ast.Attribute):
            is_text = isinstance(value.func.value, ast.Constant) and isinstance(value.func.value.value, str)
            word = "joined" if value.func.attr == "join" else "formatted"
            return ("text", word) if is_text else named_after(value.func.attr)[:1]
        return named_after(getattr(value.func, "id", ""))[:1]
    return _KINDS.get(type(value), ())


def _split(text: FunctionText, node: ast.Return, choice: Choice) -> Site | None:
    """``return f(x).g(y)`` as ``value = f(x)`` / ``return value.g(y)``."""
    match node.value:
        case ast.Call(func=ast.Attribute(value=ast.Call() as inner)) | ast.Subscript(value=ast.Call() as inner):
            if isinstance(inner.func, ast.Name) and inner.func.id == "super":
                return None
        case _:
            return None
    if any(isinstance(around, _CATCHING) for around in text.ancestors(node)) or "\n" in text.segment(node):
        return None
    name = fresh_name(text, choice, _candidates(inner))
    end = text.end(inner)
    if text.start(inner) != text.start(node.value) or text.has_comment(text.start(node), text.end(node)):
        return None
    line = f"{name} = {text.segment(inner)}\n{text.margin(node.lineno)}return {name}{text.between(end, text.end(node))}"
    return Site((Replacement(text.start(node), text.end(node), line),))

"""A loop that fills a list, set or dict as a comprehension, and a comprehension as a loop."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.naming import fresh_name
from clmeeval_data.paraphrase.rewrites.negation import OR, Condition, embraced, negated, plain
from clmeeval_data.paraphrase.rewrites.scope import Comprehension, Scope
from clmeeval_data.paraphrase.rewrites.visibility import is_seen_only_after

# What runs later, hands control over, binds a name outside, or means another thing inside a comprehension.
_BARRED = (ast.Lambda, ast.GeneratorExp, ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)
_MOST_CLAUSES = 3
_BARRED_NAMES = frozenset({"super", "__class__"})


def find(text: FunctionText, choice: Choice) -> Iterator[Site]:
    """Every loop that can be a comprehension, and every comprehension of a statement of its own."""
    for suite in text.suites:
        for place, node in enumerate(suite.statements):
            following = suite.statements[place + 1] if place + 1 < len(suite.statements) else None
            site = _comprehended(text, node, following) or _looped(text, node, choice)
            if site is not None:
                yield site


@dataclass(frozen=True)
class _Filling:
    """A loop that does nothing but fill: its ``for`` and ``if`` clauses, what is added, and the targets.

    ``known`` tells for each clause how many targets are bound when it is evaluated.
    """

    clauses: tuple[str, ...]
    added: str
    parts: tuple[ast.expr, ...]
    targets: tuple[str, ...]
    known: tuple[int, ...]


def _comprehended(text: FunctionText, start: ast.stmt, loop: ast.stmt | None) -> Site | None:
    """``x = []`` / ``for t in y: x.append(e)`` as ``x = [e for t in y]``."""
    empty = _empty(text, start)
    if empty is None or not isinstance(loop, ast.For) or not text.has_own_lines([start, loop]):
        return None
    name, opened, value = empty
    filling = _filling(text, loop, name.id, opened)
    end = text.line_end(text.last_line(loop))
    if text.end(value) != text.end(start):
        return None  # in parentheses
    if filling is None or text.has_comment(text.start(start), end) or text.last_line(start) >= loop.lineno:
        return None
    if not _is_free_of(text, start, name.id, filling):
        return None
    line = text.between(text.start(start), text.start(value)) + _brackets(opened, filling, None)
    if len(text.margin(start.lineno) + line) > WIDTH:
        margin = text.margin(start.lineno)
        written = _brackets(opened, filling, margin + text.step) + f"\n{margin}" + ("]" if opened == "[" else "}")
        line = text.between(text.start(start), text.start(value)) + written
    return Site((Replacement(text.start(start), text.end(loop), line),))


def _empty(text: FunctionText, node: ast.stmt) -> tuple[ast.Name, str, ast.expr] | None:
    """The variable to which a statement gives an empty list, set or dict, the bracket of its kind, and that value."""
    match node:
        case ast.Assign(targets=[ast.Name() as name], value=value):
            pass
        case ast.AnnAssign(target=ast.Name() as name, value=ast.expr() as value):
            pass
        case _:
            return None
    match value:
        case ast.List(elts=[]):
            return name, "[", value
        case ast.Dict(keys=[]):
            return name, "{:", value
        case ast.Call(func=ast.Name(id="list" | "dict" | "set" as kind), args=[], keywords=[]) if text.is_builtin(kind):
            return name, {"list": "[", "dict": "{:", "set": "{"}[kind], value
        case _:
            return None


def _filling(text: FunctionText, loop: ast.For, name: str, opened: str) -> _Filling | None:
    clauses: list[str] = []
    parts: list[ast.expr] = []
    targets: list[str] = []
    known: list[int] = []
    body: Sequence[ast.stmt] = [loop]
    while True:
        known.append(len(targets))
        match body:
            case [ast.For(target=target, iter=iterable, body=inner, orelse=[])]:
                names = _target_names(target)
                written = plain(text, iterable)
                if names is None or written is None:
                    return None
                clauses.append(f"for {text.segment(target)} in {embraced(written, OR)}")
                parts.append(iterable)
                targets += names
                body = inner
            case [ast.If(test=test, body=[ast.Continue()], orelse=[]), *inner] if inner and clauses:
                clauses.append(f"if {_clause(negated(text, test))}")
                parts.append(test)
                body = inner
            case [ast.If(test=test, body=inner, orelse=[])] if clauses:
                clauses.append(f"if {_clause(plain(text, test))}")
                parts.append(test)
                body = inner
            case [last]:
                added = _added(text, last, name, opened, targets)
                if added is None or len(clauses) > _MOST_CLAUSES or "if " in clauses:
                    return None
                return _Filling(tuple(clauses), added[0], (*parts, *added[1]), tuple(targets), tuple(known))
            case _:
                return None


def _clause(test: Condition | None) -> str:
    """A condition of a comprehension, "" where there is none."""
    return "" if test is None else embraced(test, OR)


def _target_names(target: ast.expr) -> list[str] | None:
    """The names that a loop binds, or None where it binds anything else."""
    match target:
        case ast.Name(id=name):
            return [name]
        case ast.Tuple(elts=parts):
            names = [_target_names(part) for part in parts]
            return None if None in names else [name for found in names if found is not None for name in found]
        case _:
            return None


def _added(
    text: FunctionText, node: ast.stmt, name: str, opened: str, targets: list[str]
) -> tuple[str, tuple[ast.expr, ...]] | None:
    """What a statement adds to the list, set or dict of that name: as text and as expressions."""
    match node:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Name(id=filled), attr=method), args=[value], keywords=[])
        ) if filled == name and (opened, method) in {("[", "append"), ("{", "add")}:
            written = plain(text, value)
            bare = not isinstance(value, ast.Starred)
            return (embraced(written, _least(value)), (value,)) if written is not None and bare else None
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=filled), slice=key)], value=value) if (
            filled == name and opened == "{:"
        ):
            return _added_pair(text, key, value, targets)
        case _:
            return None


def _least(value: ast.expr) -> int:
    """How tightly a value binds that needs no parentheses as an element."""
    return -1 if isinstance(value, ast.IfExp) else OR


def _added_pair(
    text: FunctionText, key: ast.expr, value: ast.expr, targets: Sequence[str]
) -> tuple[str, tuple[ast.expr, ...]] | None:
    """A key and its value, where it makes no difference which of them is evaluated first."""
    written = plain(text, key), plain(text, value)
    if written[0] is None or written[1] is None or isinstance(key, ast.Slice | ast.Starred):
        return None
    if not any(isinstance(part, ast.Constant) or getattr(part, "id", None) in targets for part in (key, value)):
        return None
    return f"{embraced(written[0], OR)}: {embraced(written[1], _least(value))}", (key, value)


def _is_free_of(text: FunctionText, start: ast.stmt, name: str, filling: _Filling) -> bool:
    """Whether nothing can tell the loop from a comprehension that has its own variables and binds the name at last."""
    scope = text.scope_of(start)
    if scope is None or not scope.is_private(name) or not _is_plain(filling.parts, name):
        return False
    if len(set(filling.targets)) < len(filling.targets):
        return False
    for target in filling.targets:
        inside = {part for expression in filling.parts for part in ast.walk(expression)}
        outside = [place for place in scope.places(target) if place not in inside]
        if target == name or not scope.is_private(target) or len(outside) != 1:  # the loop itself binds it
            return False
    return is_seen_only_after(text, name, start) and not _reads_early(filling.parts, filling.known, filling.targets)


def _reads_early(parts: Sequence[ast.expr], known: Sequence[int], targets: Sequence[str]) -> bool:
    """Whether a part reads a target that its loop, further in, hasn't bound yet.

    ``known`` tells for the first parts how many targets are bound when they are evaluated; for the others, all are.
    """
    for part, count in zip(parts, known, strict=False):
        if any(isinstance(node, ast.Name) and node.id in targets[count:] for node in ast.walk(part)):
            return True
    return False


def _is_plain(parts: Sequence[ast.expr], name: str) -> bool:
    nodes = [node for part in parts for node in ast.walk(part)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return not any(isinstance(node, _BARRED) for node in nodes) and not names & {name, *_BARRED_NAMES}


def _brackets(opened: str, filling: _Filling, margin: str | None) -> str:
    """The comprehension: on one line, or on several with this margin, then without its closing bracket."""
    pieces = [filling.added, *filling.clauses]
    if margin is not None:
        return opened[0] + "".join(f"\n{margin}{piece}" for piece in pieces)
    return opened[0] + " ".join(pieces) + ("]" if opened == "[" else "}")


def _looped(text: FunctionText, node: ast.stmt, choice: Choice) -> Site | None:
    """``x = [e for t in y]`` as ``x = []`` / ``for t in y: x.append(e)``; ``return [...]`` by a new variable."""
    value = getattr(node, "value", None)
    if not isinstance(value, Comprehension) or not text.has_own_lines([node]) or text.end(value) != text.end(node):
        return None
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            head, tail = text.between(text.start(node), text.start(value)), ""
        case ast.Return():
            name = fresh_name(text, choice, _KINDS[type(value)])
            head, tail = f"{name} = ", f"\n{text.margin(node.lineno)}return {name}"
        case _:
            return None
    scope = text.scope_of(node)
    if scope is None or text.has_comment(text.start(node), text.end(node)) or not _can_be_loop(scope, value, name):
        return None
    if not tail and not (scope.is_private(name) and is_seen_only_after(text, name, node)):
        return None
    written = _loop(text, value, name, text.margin(node.lineno))
    return None if written is None else Site((Replacement(text.start(node), text.end(node), head + written + tail),))


_KINDS: dict[type[ast.expr], tuple[str, ...]] = {
    ast.ListComp: ("collected", "found", "items", "results", "output", "gathered", "entries"),
    ast.SetComp: ("collected", "found", "unique", "distinct", "members"),
    ast.DictComp: ("mapping", "pairs", "collected", "table", "by_key"),
}


def _can_be_loop(scope: Scope, value: Comprehension, name: str) -> bool:
    """Whether the comprehension's variables can be variables of the function."""
    targets: list[str] = []
    parts: list[ast.expr] = []
    known: list[int] = []
    for generator in value.generators:
        names = _target_names(generator.target)
        if names is None or generator.is_async:
            return False
        parts += [generator.iter, *generator.ifs]
        known += [len(targets)] + [len(targets) + len(names)] * len(generator.ifs)
        targets += names
    parts += [value.key, value.value] if isinstance(value, ast.DictComp) else [value.elt]
    if len(set(targets)) < len(targets) or name in targets or any(map(scope.knows, targets)):
        return False
    return _is_plain(parts, name) and not _reads_early(parts, known, targets)


def _loop(text: FunctionText, value: Comprehension, name: str, margin: str) -> str | None:
    kind, added = _statement(text, value, name)
    lines: list[str] = []
    for generator in value.generators:
        iterable = plain(text, generator.iter)
        tests = [plain(text, test) for test in generator.ifs]
        if iterable is None or None in tests:
            return None
        lines.append(f"for {text.segment(generator.target)} in {iterable.text}:")
        if tests:
            joined = [embraced(test, OR + (len(tests) > 1)) for test in tests if test is not None]
            lines.append(f"if {' and '.join(joined)}:")
    if added is None:
        return None
    indented = [margin + text.step * depth + line for depth, line in enumerate([*lines, added])]
    return None if max(map(len, indented)) > WIDTH else "\n".join([kind, *indented])


def _statement(text: FunctionText, value: Comprehension, name: str) -> tuple[str, str | None]:
    """How the empty value is written, and the statement that adds to it."""
    if isinstance(value, ast.DictComp):
        targets = [found for part in value.generators for found in _target_names(part.target) or ()]
        pair = _added_pair(text, value.key, value.value, targets)
        return "{}", None if pair is None else f"{name}[{text.segment(value.key)}] = {text.segment(value.value)}"
    written = plain(text, value.elt)
    if isinstance(value, ast.SetComp):
        return "set()", None if written is None or not text.is_builtin("set") else f"{name}.add({written.text})"
    return "[]", None if written is None else f"{name}.append({written.text})"

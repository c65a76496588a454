"""Small words for the same thing: ``dict()`` and ``{}``, ``raise E`` and ``raise E()``, ``range(0, n)``, ``pass``."""

import ast
import builtins
from collections.abc import Iterator

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, FunctionText, Replacement, Site

_EMPTY = {"list": "[]", "dict": "{}", "tuple": "()"}
_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)
)


def find(text: FunctionText, _choice: Choice) -> Iterator[Site]:
    """Every such place, but none inside an f-string; and statements that do nothing."""
    yield from _idle(text)
    for node in text.nodes:
        if node not in text.in_f_strings:
            site = _site(text, node)
            if site is not None:
                yield site


def _site(text: FunctionText, node: ast.AST) -> Site | None:
    site: Site | None = None
    match node:
        case ast.Call(func=ast.Name(id=name)) if text.is_builtin(name):
            site = _of_builtin(text, name, node)
        case ast.Assign(targets=[ast.Name() | ast.Attribute()], value=ast.List(elts=[]) | ast.Dict(keys=[]) as value):
            name = "list" if isinstance(value, ast.List) else "dict"
            site = _instead(text, value, f"{name}()", 1) if text.is_builtin(name) else None
        case ast.Raise(exc=ast.Name(id=name) as raised) if name in _EXCEPTIONS and text.is_builtin(name):
            site = _instead(text, raised, f"{name}()")
        case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[], keywords=[]) as raised):
            site = _instead(text, raised, name) if name in _EXCEPTIONS and text.is_builtin(name) else None
        case ast.While(test=ast.Constant(value=value) as test) if type(value) is int and value:
            site = _instead(text, test, "True")
    return site


def _of_builtin(text: FunctionText, name: str, node: ast.Call) -> Site | None:
    match name, node.args, node.keywords:
        case "list" | "dict" | "tuple", [], []:
            return _instead(text, node, _EMPTY[name])
        case "dict", [], [_, *_]:
            return _displayed(text, node)
        case "open", [path, ast.Constant(value="r") as mode], []:
            return _without_mode(text, path, mode)
        case "range", [ast.Constant(value=0) as zero, stop], []:
            return _shorter_range(text, zero, stop)
        case _:
            return None


def _idle(text: FunctionText) -> Iterator[Site]:
    """A ``pass`` beside other statements, and a ``return`` at the end of the function, are left out."""
    for suite in text.suites:
        last = suite.statements[-1]
        for node in suite.statements:
            ends = node is last and suite.holder is text.function and isinstance(node, ast.Return)
            is_idle = isinstance(node, ast.Pass) or (ends and text.segment(node) in ("return", "return None"))
            if is_idle and len(suite.statements) > 1 and text.line_text(node.lineno).strip() == text.segment(node):
                before = text.line_end(node.lineno - 1)
                yield Site((Replacement(before, text.end(node), ""),))


def _without_mode(text: FunctionText, path: ast.expr, mode: ast.Constant) -> Site | None:
    """``open(f, "r")`` as ``open(f)``."""
    between = text.between(text.end(path), text.start(mode))
    if isinstance(path, ast.Starred) or between.replace(" ", "") != ",":
        return None
    return Site((Replacement(text.end(path), text.end(mode), ""),))


def _instead(text: FunctionText, node: ast.expr, written: str, rank: int = 0) -> Site | None:
    if text.has_comment(text.start(node), text.end(node)):
        return None
    return Site((Replacement(text.start(node), text.end(node), written),), rank)


def _shorter_range(text: FunctionText, zero: ast.Constant, stop: ast.expr) -> Site | None:
    """``range(0, n)`` as ``range(n)``."""
    start, end = text.start(zero), text.start(stop)
    if type(zero.value) is not int or isinstance(stop, ast.Starred):
        return None
    return Site((Replacement(start, end, ""),)) if text.between(start, end).replace(" ", "") == "0," else None


def _displayed(text: FunctionText, node: ast.Call) -> Site | None:
    """``dict(a=x, b=y)`` as ``{"a": x, "b": y}``."""
    names = [keyword.arg for keyword in node.keywords]
    if None in names or text.has_comment(text.start(node), text.end(node)):
        return None
    quote = '"' if text.text.count('"') > text.text.count("'") else "'"
    pairs = [f"{quote}{keyword.arg}{quote}: {text.segment(keyword.value)}" for keyword in node.keywords]
    written = f"{{{', '.join(pairs)}}}"
    line = text.line_text(text.line_of(text.start(node)))
    if "\n" in text.segment(node) or len(line) - len(text.segment(node)) + len(written) > WIDTH:
        return None
    return Site((Replacement(text.start(node), text.end(node), written),))

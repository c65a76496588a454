"""Conditions and contexts inside each other, or joined: ``if a: if b:`` and ``if a and b:``, the same for ``with``."""

import ast
from collections.abc import Iterator

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, Block, FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.negation import AND, OR, embraced, plain

With = ast.With | ast.AsyncWith


def find(text: FunctionText, _choice: Choice) -> Iterator[Site]:
    """Every ``if`` and ``with`` that can be joined with the one inside it, or split in two."""
    for node in text.nodes:
        sites: tuple[Site | None, ...] = ()
        if isinstance(node, ast.If) and text.has_own_lines([node]):
            sites = (_joined_tests(text, node), _split_test(text, node), _elif(text, node))
        elif isinstance(node, With) and text.has_own_lines([node]):
            sites = (_joined_contexts(text, node), _split_contexts(text, node))
        yield from (site for site in sites if site is not None)


def _joined_tests(text: FunctionText, node: ast.If) -> Site | None:
    inner = node.body[0]
    if node.orelse or len(node.body) != 1 or not isinstance(inner, ast.If) or inner.orelse:
        return None
    tests = [plain(text, node.test), plain(text, inner.test)]
    joined = " and ".join(embraced(test, AND) for test in tests if test is not None)
    block = _inner_block(text, text.end(node.test), inner, text.end(inner.test))
    if None in tests or block is None:
        return None
    word = "elif" if text.is_elif(node) else "if"
    return _header(text, node, f"{word} {joined}:", block, text.margin(node.lineno) + text.step)


def _joined_contexts(text: FunctionText, node: With) -> Site | None:
    inner = node.body[0]
    if len(node.body) != 1 or not isinstance(inner, With) or type(inner) is not type(node):
        return None
    items = [_items(text, node), _items(text, inner)]
    block = _inner_block(text, _items_end(text, node), inner, _items_end(text, inner))
    if None in items or block is None:
        return None
    word = "async with" if isinstance(node, ast.AsyncWith) else "with"
    joined = ", ".join(item for item in items if item is not None)
    return _header(text, node, f"{word} {joined}:", block, text.margin(node.lineno) + text.step)


def _inner_block(text: FunctionText, outer_end: int, inner: ast.If | With, inner_end: int) -> Block | None:
    """The lines inside the inner one of two statements; None where a comment or another layout is in the way."""
    outer_colon, inner_colon = text.header_end(outer_end), text.header_end(inner_end)
    if text.has_comment(outer_end, text.start(inner)) or not text.has_own_lines([inner]):
        return None
    if text.line_of(outer_colon) >= inner.lineno:
        return None
    return text.block(inner.body, inner_colon)


def _header(text: FunctionText, node: ast.If | With, header: str, block: Block, margin: str) -> Site | None:
    """The site at which one header takes the place of all lines from the node to the block."""
    outer = text.margin(node.lineno)
    if len(outer + header) > WIDTH:
        return None
    moved = text.moved(block.first, block.last, block.margin, margin)
    return Site((Replacement(text.start(node), text.line_end(block.last), f"{header}\n{moved}"),))


def _split_test(text: FunctionText, node: ast.If) -> Site | None:
    test = node.test
    if node.orelse or text.is_elif(node) or not isinstance(test, ast.BoolOp) or not isinstance(test.op, ast.And):
        return None
    parts = [plain(text, value) for value in test.values]
    known = [embraced(part, OR + 1 if len(parts) > 2 else OR) for part in parts if part is not None]
    block = text.block(node.body, text.header_end(text.end(test)))
    if block is None or len(known) < len(parts) or text.segment(test) != _as_written(text, test):
        return None
    inner = text.margin(node.lineno) + text.step
    header = f"if {known[0]}:\n{inner}if {' and '.join(known[1:])}:"
    moved = text.moved(block.first, block.last, block.margin, inner + text.step)
    return Site((Replacement(text.start(node), text.line_end(block.last), f"{header}\n{moved}"),), rank=2)


def _as_written(text: FunctionText, test: ast.expr) -> str:
    """The segment of a test that has no parentheses around it and takes one line."""
    segment = text.segment(test)
    line = text.line_text(text.line_of(text.start(test)))
    return segment if "\n" not in segment and f"if {segment}:" in line else ""


def _split_contexts(text: FunctionText, node: With) -> Site | None:
    if len(node.items) != 2 or (items := _each_item(text, node)) is None:
        return None
    block = text.block(node.body, text.header_end(_items_end(text, node)))
    word = "async with" if isinstance(node, ast.AsyncWith) else "with"
    if block is None:
        return None
    inner = text.margin(node.lineno) + text.step
    moved = text.moved(block.first, block.last, block.margin, inner + text.step)
    header = f"{word} {items[0]}:\n{inner}{word} {items[1]}:"
    return Site((Replacement(text.start(node), text.line_end(block.last), f"{header}\n{moved}"),))


def _items(text: FunctionText, node: With) -> str | None:
    items = _each_item(text, node)
    return None if items is None else ", ".join(items)


def _each_item(text: FunctionText, node: With) -> list[str] | None:
    """The contexts as they are written; None where they take several lines or stand in parentheses."""
    header = text.between(text.start(node), text.header_end(_items_end(text, node)))
    written = []
    for item in node.items:
        name = "" if item.optional_vars is None else f" as {text.segment(item.optional_vars)}"
        written.append(text.segment(item.context_expr) + name)
    word = "async with" if isinstance(node, ast.AsyncWith) else "with"
    return written if header == f"{word} {', '.join(written)}:" else None


def _items_end(text: FunctionText, node: With) -> int:
    last = node.items[-1]
    return text.end(last.context_expr if last.optional_vars is None else last.optional_vars)


def _elif(text: FunctionText, node: ast.If) -> Site | None:
    """``else:`` / ``if b:`` as ``elif b:``."""
    word = text.else_token(node)
    if word is None or len(node.orelse) != 1 or not isinstance(inner := node.orelse[0], ast.If):
        return None
    colon = text.header_end(word.end)
    if text.has_comment(word.start, text.start(inner)) or not text.has_own_lines([inner]):
        return None
    first, last = inner.lineno, text.last_line(inner)
    if first <= text.line_of(colon):
        return None
    margin = text.margin(inner.lineno)
    moved = text.moved(first, last, margin, text.margin(text.line_of(word.start)))
    replaced_line = moved.replace("if", "elif", 1)
    return Site((Replacement(text.line_start(text.line_of(word.start)), text.line_end(last), replaced_line),))

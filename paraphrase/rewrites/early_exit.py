"""Leaving early and the ``else`` that says the same, guards instead of nesting, and chains of ``elif``."""

import ast
from collections.abc import Iterator, Sequence

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import Block, FunctionText, Replacement, Site, Suite
from clmeeval_data.paraphrase.rewrites.negation import is_negative, negated
from clmeeval_data.paraphrase.rewrites.order import leaves
from clmeeval_data.paraphrase.rewrites.scope import FunctionNode

_LONGEST_ELSE = 4  # lines that are moved under a new ``else``


def find(text: FunctionText, _choice: Choice) -> Iterator[Site]:
    """Every place where a branch that ends in return, raise, continue or break can lose or gain an ``else``."""
    for suite in text.suites:
        for place, node in enumerate(suite.statements):
            if isinstance(node, ast.If) and not text.is_elif(node) and text.has_own_lines([node]):
                rest = suite.statements[place + 1 :]
                sites = (_without_else(text, node), _with_else(text, node, rest), _guard(text, suite, node, rest))
                yield from (site for site in (*sites, _nested(text, suite, node, rest)) if site is not None)


def _without_else(text: FunctionText, node: ast.If) -> Site | None:
    """``if a: return x`` / ``else: Y`` as ``if a: return x`` / ``Y``; each ``elif`` on the way becomes an ``if``."""
    parts: list[Replacement] = []
    link = node
    while leaves(link.body) and link.orelse:
        following = link.orelse[0]
        if isinstance(following, ast.If) and text.is_elif(following):
            start = text.start(following)
            parts.append(Replacement(start, start + len("elif"), "if"))
            link = following
            continue
        unindented = _unindented_else(text, node, link)
        if unindented is None:
            return None
        parts.append(unindented)
        break
    return Site(tuple(parts)) if parts else None


def _unindented_else(text: FunctionText, chain: ast.If, link: ast.If) -> Replacement | None:
    word = text.else_token(link)
    if word is None or text.has_comment(text.end(link.body[-1]), word.start):
        return None
    block = text.block(link.orelse, text.header_end(word.end))
    if block is None:
        return None
    moved = text.moved(block.first, block.last, block.margin, text.margin(chain.lineno))
    return Replacement(text.line_start(text.line_of(word.start)), text.line_end(block.last), moved)


def _with_else(text: FunctionText, node: ast.If, rest: Sequence[ast.stmt]) -> Site | None:
    """``if a: return x`` / ``Y`` as ``if a: return x`` / ``else: Y``, where ``Y`` is short and leaves as well."""
    if node.orelse or not leaves(node.body) or not rest or not leaves(rest) or isinstance(rest[0], ast.If):
        return None
    first, last = text.first_line(rest[0]), text.last_line(rest[-1])
    start = text.end(node)
    if last - first >= _LONGEST_ELSE or not text.has_own_lines(rest) or text.has_comment(start, text.start(rest[0])):
        return None
    margin = text.margin(node.lineno)
    moved = text.moved(first, last, margin, margin + text.step)
    parts = (Replacement(text.line_end(text.line_of(start)), text.line_end(last), f"\n{margin}else:\n{moved}"),)
    return Site(parts, rank=0 if isinstance(node.body[-1], ast.Return) else 2)


def _way_out(text: FunctionText, suite: Suite) -> str | None:
    """What leaves early and does the same as coming to the end of the suite; None where there is nothing."""
    if suite.field != "body":
        return None
    if isinstance(suite.holder, ast.For | ast.AsyncFor | ast.While):
        return "continue"
    if isinstance(suite.holder, FunctionNode):
        returned = [node for node in _own_nodes(suite.holder) if isinstance(node, ast.Return)]
        return "return None" if any(node.value is not None for node in returned) else "return"
    return None


def _own_nodes(function: FunctionNode) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions and classes inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, FunctionNode | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def _guard(text: FunctionText, suite: Suite, node: ast.If, rest: Sequence[ast.stmt]) -> Site | None:
    """``if a: X`` at the end of a function or a loop as ``if not a: return`` (or ``continue``) / ``X``."""
    way_out, opposite = _way_out(text, suite), negated(text, node.test)
    if rest or node.orelse or way_out is None or opposite is None or leaves(node.body):
        return None
    block = _body(text, node)
    if block is None:
        return None
    margin = text.margin(node.lineno)
    moved = text.moved(block.first, block.last, block.margin, margin)
    return Site(
        (
            Replacement(text.start(node.test), text.end(node.test), opposite.text),
            Replacement(text.line_start(block.first), text.line_end(block.last), f"{block.margin}{way_out}\n{moved}"),
        ),
        rank=2 if block.first == block.last or opposite.text.startswith("not (") else 0,
    )


def _nested(text: FunctionText, suite: Suite, node: ast.If, rest: Sequence[ast.stmt]) -> Site | None:
    """``if not a: return`` (or ``continue``) / ``X`` as ``if a: X``, where ``X`` goes on to the end."""
    way_out, opposite = _way_out(text, suite), negated(text, node.test)
    if not rest or node.orelse or way_out is None or opposite is None or leaves(rest) or len(node.body) != 1:
        return None
    block = _body(text, node)
    if text.segment(node.body[0]) not in (way_out, "return", "return None") or block is None:
        return None
    if isinstance(node.body[0], ast.Return) != way_out.startswith("return") or not text.has_own_lines(rest):
        return None
    if block.first != block.last or text.has_comment(text.start(node.body[0]), text.start(rest[0])):
        return None
    first, last = text.first_line(rest[0]), text.last_line(rest[-1])
    margin = text.margin(node.lineno)
    moved = text.moved(first, last, margin, margin + text.step)
    return Site(
        (
            Replacement(text.start(node.test), text.end(node.test), opposite.text),
            Replacement(text.line_start(block.first), text.line_end(last), moved),
        ),
        rank=0 if is_negative(node.test) and not opposite.text.startswith("not (") else 2,
    )


def _body(text: FunctionText, node: ast.If) -> Block | None:
    return text.block(node.body, text.header_end(text.end(node.test)))

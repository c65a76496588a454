"""``if not a: X else: Y`` as ``if a: Y else: X``, and the other way round."""

import ast
from collections.abc import Iterator

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.negation import is_negative, negated
from clmeeval_data.paraphrase.rewrites.order import leaves


def find(text: FunctionText, _choice: Choice) -> Iterator[Site]:
    """Every ``if`` with an ``else`` and no ``elif`` whose condition has an opposite."""
    for node in text.nodes:
        if isinstance(node, ast.If) and (site := _inverted(text, node)) is not None:
            yield site


def _inverted(text: FunctionText, node: ast.If) -> Site | None:
    word = text.else_token(node)
    opposite = negated(text, node.test)
    if word is None or opposite is None or text.is_elif(node) or not text.has_own_lines([node]):
        return None
    header_end = text.header_end(text.end(node.test))
    first = text.block(node.body, header_end)
    second = text.block(node.orelse, text.header_end(word.end))
    if first is None or second is None or first.last >= text.line_of(word.start) or first.margin != second.margin:
        return None
    if text.has_comment(text.line_end(first.last), word.start):
        return None  # it would speak of the wrong branch
    spans = [(text.line_start(block.first), text.line_end(block.last)) for block in (first, second)]
    bodies = [text.between(*span) for span in spans]
    is_guard = leaves(node.orelse) and len(bodies[1]) < len(bodies[0]) and not opposite.text.startswith("not (")
    rank = 0 if is_negative(node.test) else 1 if is_guard else 2
    return Site(
        (
            Replacement(text.start(node.test), text.end(node.test), opposite.text),
            Replacement(*spans[0], bodies[1]),
            Replacement(*spans[1], bodies[0]),
        ),
        rank,
    )

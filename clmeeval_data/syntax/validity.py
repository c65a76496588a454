"""Whether a text is Python 3, and of which tokens and comments it is made."""

import re
from typing import TYPE_CHECKING

from clmeeval_data.syntax.tree import is_token, nodes_of, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

_PYTHON_2 = frozenset({"print_statement", "exec_statement", "<>"})
_PYTHON_2_LITERAL = re.compile(r"`|[uU][rR]['\"]|0\d*[1-9]\d*$|\d+[lL]$")


def parses(code: str) -> bool:
    """Whether the text is at least one statement of Python 3, without an erroneous or missing part.

    The grammar is a little wider than the compiler's: ``return`` outside a function parses.
    """
    nodes = nodes_of(code)
    if nodes[0][0].has_error:
        return False
    return all(_is_laid_out(node) and not _is_python_2(node, parent) for node, parent in nodes)


def tokens(code: str) -> list[str]:
    """The leaves of the tree in order, without comments; a string without interpolation is one token."""
    return [text for node, _ in nodes_of(code) if is_token(node) and (text := text_of(node))]


def comments(code: str) -> list[str]:
    """The comments in order, each with its ``#``."""
    return [text_of(node) for node, _ in nodes_of(code) if node.type == "comment"]


def _is_laid_out(node: "Node") -> bool:
    """Whether a block has statements and all of them stand at one margin; the grammar lets both pass."""
    if node.type not in ("module", "block"):
        return True
    statements = [child for child in node.named_children if child.type != "comment"]
    rows = {child.start_point.row: child.start_point.column for child in reversed(statements)}
    return len(set(rows.values())) == 1 and (node.type == "block" or set(rows.values()) == {0})


def _is_python_2(node: "Node", parent: "Node") -> bool:
    match node.type:
        case "string" | "integer":
            return bool(_PYTHON_2_LITERAL.match(text_of(node)))
        case "expression_list":
            return parent.type == "raise_statement"
        case "except_clause":
            return len(node.children_by_field_name("value")) > 1
        case _:
            return node.type in _PYTHON_2

"""The syntax tree of a text: made once, kept for the next question about the same text, read without recursion."""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node, Parser


@cache
def parser() -> "Parser":
    """The one parser of Python, made when it is first asked for."""
    import tree_sitter_python
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_python.language()))


@lru_cache(maxsize=8)
def nodes_of(code: str) -> "Sequence[tuple[Node, Node]]":
    """Every node of the code's tree with its parent, the root first; kept for the next question about the same code."""
    return list(walk(parser().parse(encode(code)).root_node))


def encode(code: str) -> bytes:
    """The text as the parser reads it; a lone surrogate of a damaged corpus counts as "?"."""
    return code.encode("utf-8", "replace")


def text_of(node: "Node | None") -> str:
    """The text that a node stands for, "" for none."""
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def walk(root: "Node") -> "Iterator[tuple[Node, Node]]":
    """Every node with its parent, parents first; without recursion, since models write very deep nonsense."""
    stack = [(root, root)]
    while stack:
        node, parent = stack.pop()
        yield node, parent
        if node.child_count and not is_token(node):
            stack.extend((child, node) for child in reversed(node.children))


def is_token(node: "Node") -> bool:
    """Whether a node is a leaf that says something; a string without interpolation is one."""
    if node.type == "string":
        return all(child.type != "interpolation" for child in node.children)
    return node.child_count == 0 and node.type not in ("comment", "module", "block")

"""How alike two codes are: their normalised forms, and the share of a tree that another one holds."""

import builtins
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clmeeval_data.syntax.definitions import docstring_statements, literal_value
from clmeeval_data.syntax.names import bindings, calls, is_variable
from clmeeval_data.syntax.tree import is_token, nodes_of, text_of

if TYPE_CHECKING:
    from tree_sitter import Node


def normalised(code: str, free_names: bool = False) -> str:
    """A canonical form: equal for two codes that differ in layout, comments, docstrings, quotes or names of variables.

    Variables that the code itself binds, parameters included, are numbered in the order in which they appear; names of
    definitions, attributes and keyword arguments stay. One statement a line, blocks in braces.

    Args:
        code: The code.
        free_names: Also number the names that come from outside, but not builtins, modules of the standard library and
            functions that are called by their name.
    """
    nodes = nodes_of(code)
    bound = {text_of(node) for node in bindings(nodes)}
    if free_names:
        known = {*dir(builtins), *sys.stdlib_module_names, *calls(code)}
        bound |= {text_of(node) for node, _ in nodes if node.type == "identifier"} - known
    docstrings = {node.id for node in docstring_statements(nodes)}
    numbers: dict[str, str] = {}
    words: list[str] = []
    stack: list[tuple[Node, Node] | str] = [nodes[0]]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            words.append(item)
            continue
        node, parent = item
        if node.type in ("comment", ";") or node.id in docstrings:
            continue
        if is_token(node):
            text = text_of(node)
            if text in bound and is_variable(node, parent):
                text = numbers.setdefault(text, f"_{len(numbers)}")
            words.append(_plain_string(text) if node.type == "string" else text.replace("\n", r"\n"))
        else:
            stack.extend(reversed(_with_layout(node)))
    lines = re.sub(r" *\n[ \n]*", "\n", " ".join(words)).strip()
    return lines.replace("{\n}", "{\npass\n}")  # a body that was nothing but a docstring


def tree_similarity(candidate: str, reference: str) -> float:
    """The share of the reference's subtrees that the candidate holds too, in [0, 1]; higher is more alike.

    A subtree is an inner node (or the root) with all that is below it, as types of named nodes, without comments:
    names, literals and operators don't count. Subtrees are counted as multisets: one that stands twice in the reference
    has to stand twice in the candidate. So 1 says the same shape, not the same meaning: ``min(a)`` and ``max(b)``.

    Source: Ren et al., "CodeBLEU" (arXiv 2009.10297), the syntactic match of section 3.2; its released code asks
    whether a subtree occurs at all, without counting.
    """
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}
    found = _subtrees(nodes_of(candidate), numbers)
    wanted = _subtrees(nodes_of(reference), numbers)
    return (wanted & found).total() / wanted.total()


def _plain_string(literal: str) -> str:
    value = literal_value(literal)
    return literal if value is None else repr(value)


def _with_layout(node: "Node") -> "list[tuple[Node, Node] | str]":
    children: list[tuple[Node, Node] | str] = []
    for child in node.children:
        children.append((child, node))
        if node.type in ("module", "block") and child.type not in ("comment", ";"):
            children.append("\n")
    return ["{", "\n", *children, "}"] if node.type == "block" else children


def _subtrees(nodes: "Sequence[tuple[Node, Node]]", numbers: dict[tuple[str, tuple[int, ...]], int]) -> Counter[int]:
    """How often each subtree occurs; equal subtrees get equal numbers from ``numbers``, which is filled here."""
    number_of: dict[int, int] = {}
    count: Counter[int] = Counter()
    for node, _ in reversed(nodes):
        if not node.is_named or node.type == "comment":
            continue
        below = [child.id for child in node.named_children if child.type != "comment" and child.id in number_of]
        key = (node.type, tuple(number_of[child] for child in below))
        number_of[node.id] = numbers.setdefault(key, len(numbers))
        if below or node == nodes[0][0]:
            count[number_of[node.id]] += 1
    return count

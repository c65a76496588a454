"""The functions of a source file and their docstrings; a code without its docstrings or comments."""

import ast
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clmeeval_data.syntax.tree import encode, nodes_of, parser, text_of, walk

if TYPE_CHECKING:
    from tree_sitter import Node

_HOLDS_STATEMENTS = frozenset(
    {"module", "block", "decorated_definition", "function_definition", "class_definition", "if_statement"}
    | {"elif_clause", "else_clause", "for_statement", "while_statement", "try_statement", "except_clause"}
    | {"finally_clause", "with_statement", "match_statement", "case_clause", "ERROR"}
)


@dataclass(frozen=True)
class Function:
    """One function of a source file.

    ``name`` is qualified as ``__qualname__`` is. ``code`` starts at its first decorator and stands at the left margin;
    it holds the docstring as written. ``docstring`` is clean, "" where there is none. ``line`` counts from 1; ``start``
    and ``end`` are byte offsets in the source.
    """

    name: str
    code: str
    docstring: str
    line: int
    start: int
    end: int


def functions(source: str) -> Iterator[Function]:
    """The functions of a source file, methods and nested ones included, in the order of the text."""
    data = encode(source)
    stack: list[tuple[Node, Node, str]] = [(root := parser().parse(data).root_node, root, "")]
    while stack:
        node, parent, prefix = stack.pop()
        if node.type in ("function_definition", "class_definition"):
            name = prefix + text_of(node.child_by_field_name("name"))
            prefix = f"{name}." if node.type == "class_definition" else f"{name}.<locals>."
            if node.type == "function_definition":
                yield _function(data, name, node, parent if parent.type == "decorated_definition" else node)
        stack.extend((child, node, prefix) for child in reversed(node.children) if child.type in _HOLDS_STATEMENTS)


def strip_docstrings(code: str) -> str:
    """The code without the docstrings of its functions and classes; one that was a whole body becomes ``pass``."""
    data = encode(code)
    for node in sorted(docstring_statements(nodes_of(code)), key=lambda found: -found.start_byte):
        following = node.next_sibling
        while following is not None and following.type == ";":
            following = following.next_sibling
        end, instead = (node.end_byte, b"pass") if following is None else (following.start_byte, b"")
        data = data[: node.start_byte] + instead + data[end:]
    return data.decode("utf-8")


def strip_comments(code: str) -> str:
    """The code without its comments; lines that held nothing else go."""
    data = encode(code)
    for node, _ in reversed(nodes_of(code)):
        if node.type == "comment":
            line = data.rfind(b"\n", 0, node.start_byte) + 1
            before = data[line : node.start_byte].rstrip()
            end = node.end_byte if before else min(node.end_byte + 1, len(data))
            data = data[:line] + before + data[end:]
    return data.decode("utf-8")


def docstring_statements(nodes: "Sequence[tuple[Node, Node]]") -> "Iterator[Node]":
    """The statements that are docstrings of functions and classes."""
    for node, _ in nodes:
        if node.type in ("function_definition", "class_definition") and (found := _docstring(node)):
            yield found


def _docstring(definition: "Node") -> "Node | None":
    """The statement that is the docstring of a function or class."""
    body = definition.child_by_field_name("body")
    first = next((child for child in body.named_children if child.type != "comment"), None) if body else None
    if first is None or first.type != "expression_statement" or first.named_child_count != 1:
        return None
    literal = first.named_children[0]
    if literal.type not in ("string", "concatenated_string") or not _is_literal(literal):
        return None
    return first


def _is_literal(node: "Node") -> bool:
    prefix = text_of(node)[:2].lower()
    return not prefix.startswith(("b", "f")) and prefix not in ("rb", "rf") and "interpolation" not in str(node)


def literal_value(literal: str) -> str | None:
    """The value of a string literal; None where it is no valid one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes, which real docstrings are full of
        try:
            value = ast.literal_eval(literal)
        except (ValueError, SyntaxError):
            return None
    return value if isinstance(value, str) else None


def _function(data: bytes, name: str, definition: "Node", whole: "Node") -> Function:
    docstring = _docstring(definition)
    value = literal_value(text_of(docstring)) if docstring else None
    start, end = whole.start_byte, whole.end_byte
    code = _at_margin(data, whole)
    return Function(name, code, _clean(value or ""), whole.start_point.row + 1, start, end)


def _clean(docstring: str) -> str:
    from inspect import cleandoc

    return cleandoc(docstring).strip()


def _at_margin(data: bytes, node: "Node") -> str:
    """The code of a definition moved to the left margin, with the inside of strings left as it is."""
    line = data.rfind(b"\n", 0, node.start_byte) + 1
    margin = data[line : node.start_byte]
    code = data[node.start_byte : node.end_byte]
    if not margin or margin.strip():
        return code.decode("utf-8")
    inside: set[int] = set()
    if b'"""' in code or b"'''" in code or b"\\\n" in code:
        for found, _ in walk(node):
            if found.type == "string":
                first = node.start_point.row
                inside.update(range(found.start_point.row + 1 - first, found.end_point.row + 1 - first))
    lines = code.split(b"\n")
    moved = [text if number in inside else text.removeprefix(margin) for number, text in enumerate(lines)]
    return b"\n".join(moved).decode("utf-8")

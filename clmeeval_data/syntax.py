"""Python code as a syntax tree: does it parse, its tokens, its normalised form, its functions, how alike two trees are.

The only user of tree-sitter, which is imported when the first function here is called. A tree is made of any text, also
of broken code, and keeps every byte of it; so the answers of a model can be measured, and code can be edited in place.
"""

import ast
import builtins
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

Role = Literal["assigned", "loop", "context", "caught", "parameter", "used"]

_PYTHON_2 = frozenset({"print_statement", "exec_statement", "<>"})
_PYTHON_2_LITERAL = re.compile(r"`|[uU][rR]['\"]|0\d*[1-9]\d*$|\d+[lL]$")
_BINDERS: Mapping[str, tuple[str, Role]] = {
    "assignment": ("left", "assigned"),
    "augmented_assignment": ("left", "assigned"),
    "named_expression": ("name", "assigned"),
    "for_statement": ("left", "loop"),
    "for_in_clause": ("left", "loop"),
    "as_pattern": ("alias", "context"),
    "function_definition": ("parameters", "parameter"),
    "lambda": ("parameters", "parameter"),
}
_PATTERNS = frozenset(
    {"pattern_list", "tuple_pattern", "list_pattern", "list_splat_pattern", "dictionary_splat_pattern"}
    | {"as_pattern_target", "tuple", "list", "parameters", "lambda_parameters", "expression_list"}
)
_FIRST_IS_NAME = frozenset({"default_parameter", "typed_parameter", "typed_default_parameter"})
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


@dataclass(frozen=True)
class Variable:
    """One place where a name stands for a variable, with byte offsets, and what happens to it there.

    Attributes, names of keyword arguments, names of definitions and names in imports are no variables.
    """

    name: str
    start: int
    end: int
    role: Role


def parses(code: str) -> bool:
    """Whether the text is at least one statement of Python 3, without an erroneous or missing part.

    The grammar is a little wider than the compiler's: ``return`` outside a function parses.
    """
    nodes = _nodes(code)
    if nodes[0][0].has_error:
        return False
    return all(_is_laid_out(node) and not _is_python_2(node, parent) for node, parent in nodes)


def tokens(code: str) -> list[str]:
    """The leaves of the tree in order, without comments; a string without interpolation is one token."""
    return [text for node, _ in _nodes(code) if _is_token(node) and (text := _text(node))]


def normalised(code: str, free_names: bool = False) -> str:
    """A canonical form: equal for two codes that differ in layout, comments, docstrings, quotes or names of variables.

    Variables that the code itself binds, parameters included, are numbered in the order in which they appear; names of
    definitions, attributes and keyword arguments stay. One statement a line, blocks in braces.

    Args:
        code: The code.
        free_names: Also number the names that come from outside, but not builtins, modules of the standard library and
            functions that are called by their name.
    """
    nodes = _nodes(code)
    bound = {_text(node) for node in _bindings(nodes)}
    if free_names:
        known = {*dir(builtins), *sys.stdlib_module_names, *calls(code)}
        bound |= {_text(node) for node, _ in nodes if node.type == "identifier"} - known
    docstrings = {node.id for node in _docstrings(nodes)}
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
        if _is_token(node):
            text = _text(node)
            if text in bound and _is_variable(node, parent):
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
    found = _subtrees(_nodes(candidate), numbers)
    wanted = _subtrees(_nodes(reference), numbers)
    return (wanted & found).total() / wanted.total()


def calls(code: str) -> list[str]:
    """The names called, in order: dotted where all parts are names, else the method with a leading dot (``.strip``)."""
    names = []
    for node, _ in _nodes(code):
        if node.type == "call" and (function := node.child_by_field_name("function")):
            text = "".join(_text(function).split())
            names.append(text if re.fullmatch(r"[\w.]+", text) else "." + text.rpartition(".")[2])
    return [name for name in names if re.fullmatch(r"\.?\w[\w.]*", name)]


def comments(code: str) -> list[str]:
    """The comments in order, each with its ``#``."""
    return [_text(node) for node, _ in _nodes(code) if node.type == "comment"]


def variables(code: str) -> list[Variable]:
    """Every place where a name stands for a variable, in the order of the text."""
    nodes = _nodes(code)
    roles = _bindings(nodes)
    places = [node for node, parent in nodes if node.type == "identifier" and _is_variable(node, parent)]
    return [Variable(_text(node), node.start_byte, node.end_byte, roles.get(node, "used")) for node in places]


def functions(source: str) -> Iterator[Function]:
    """The functions of a source file, methods and nested ones included, in the order of the text."""
    data = _encode(source)
    stack: list[tuple[Node, Node, str]] = [(root := _parser().parse(data).root_node, root, "")]
    while stack:
        node, parent, prefix = stack.pop()
        if node.type in ("function_definition", "class_definition"):
            name = prefix + _text(node.child_by_field_name("name"))
            prefix = f"{name}." if node.type == "class_definition" else f"{name}.<locals>."
            if node.type == "function_definition":
                yield _function(data, name, node, parent if parent.type == "decorated_definition" else node)
        stack.extend((child, node, prefix) for child in reversed(node.children) if child.type in _HOLDS_STATEMENTS)


def strip_docstrings(code: str) -> str:
    """The code without the docstrings of its functions and classes; one that was a whole body becomes ``pass``."""
    data = _encode(code)
    for node in sorted(_docstrings(_nodes(code)), key=lambda found: -found.start_byte):
        following = node.next_sibling
        while following is not None and following.type == ";":
            following = following.next_sibling
        end, instead = (node.end_byte, b"pass") if following is None else (following.start_byte, b"")
        data = data[: node.start_byte] + instead + data[end:]
    return data.decode("utf-8")


def strip_comments(code: str) -> str:
    """The code without its comments; lines that held nothing else go."""
    data = _encode(code)
    for node, _ in reversed(_nodes(code)):
        if node.type == "comment":
            line = data.rfind(b"\n", 0, node.start_byte) + 1
            before = data[line : node.start_byte].rstrip()
            end = node.end_byte if before else min(node.end_byte + 1, len(data))
            data = data[:line] + before + data[end:]
    return data.decode("utf-8")


@cache
def _parser() -> "Parser":
    import tree_sitter_python
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_python.language()))


@lru_cache(maxsize=8)
def _nodes(code: str) -> "Sequence[tuple[Node, Node]]":
    """Every node of the code's tree with its parent, the root first; kept for the next question about the same code."""
    return list(_walk(_parser().parse(_encode(code)).root_node))


def _encode(code: str) -> bytes:
    return code.encode("utf-8", "replace")  # a lone surrogate of a damaged corpus counts as "?"


def _text(node: "Node | None") -> str:
    return "" if node is None or node.text is None else node.text.decode("utf-8", "replace")


def _walk(root: "Node") -> "Iterator[tuple[Node, Node]]":
    """Every node with its parent, parents first; without recursion, since models write very deep nonsense."""
    stack = [(root, root)]
    while stack:
        node, parent = stack.pop()
        yield node, parent
        if node.child_count and not _is_token(node):
            stack.extend((child, node) for child in reversed(node.children))


def _is_token(node: "Node") -> bool:
    if node.type == "string":
        return all(child.type != "interpolation" for child in node.children)
    return node.child_count == 0 and node.type not in ("comment", "module", "block")


def _is_variable(node: "Node", parent: "Node") -> bool:
    match parent.type:
        case "attribute":
            return node != parent.child_by_field_name("attribute")
        case "keyword_argument" | "function_definition" | "class_definition":
            return node != parent.child_by_field_name("name")
        case "dotted_name" | "aliased_import" | "keyword_pattern":
            return False
        case _:
            return node.type == "identifier"


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
            return bool(_PYTHON_2_LITERAL.match(_text(node)))
        case "expression_list":
            return parent.type == "raise_statement"
        case "except_clause":
            return len(node.children_by_field_name("value")) > 1
        case _:
            return node.type in _PYTHON_2


def _bindings(nodes: "Sequence[tuple[Node, Node]]") -> "dict[Node, Role]":
    """The identifiers that bind a variable, with what binds them."""
    found: dict[Node, Role] = {}
    for node, parent in nodes:
        if node.type in _BINDERS:
            field, role = _BINDERS[node.type]
            role = "caught" if parent.type == "except_clause" else role
            stack = node.children_by_field_name(field)
            while stack:
                target = stack.pop()
                if target.type == "identifier":
                    found[target] = role
                elif target.type in _PATTERNS:
                    stack.extend(target.named_children)
                elif target.type in _FIRST_IS_NAME:
                    stack.append(target.named_children[0])
    return found


def _docstrings(nodes: "Sequence[tuple[Node, Node]]") -> "Iterator[Node]":
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
    prefix = _text(node)[:2].lower()
    return not prefix.startswith(("b", "f")) and prefix not in ("rb", "rf") and "interpolation" not in str(node)


def _evaluate(literal: str) -> str | None:
    """The value of a string literal; None where it is no valid one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes, which real docstrings are full of
        try:
            value = ast.literal_eval(literal)
        except (ValueError, SyntaxError):
            return None
    return value if isinstance(value, str) else None


def _plain_string(literal: str) -> str:
    value = _evaluate(literal)
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


def _function(data: bytes, name: str, definition: "Node", whole: "Node") -> Function:
    docstring = _docstring(definition)
    value = _evaluate(_text(docstring)) if docstring else None
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
        for found, _ in _walk(node):
            if found.type == "string":
                first = node.start_point.row
                inside.update(range(found.start_point.row + 1 - first, found.end_point.row + 1 - first))
    lines = code.split(b"\n")
    moved = [text if number in inside else text.removeprefix(margin) for number, text in enumerate(lines)]
    return b"\n".join(moved).decode("utf-8")

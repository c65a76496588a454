"""The names in a code: variables and what binds them, calls, identifiers, modules."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clmeeval_data.syntax.tree import nodes_of, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

Role = Literal["assigned", "loop", "context", "caught", "parameter", "used"]

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


@dataclass(frozen=True)
class Variable:
    """One place where a name stands for a variable, with byte offsets, and what happens to it there.

    Attributes, names of keyword arguments, names of definitions and names in imports are no variables.
    """

    name: str
    start: int
    end: int
    role: Role


def variables(code: str) -> list[Variable]:
    """Every place where a name stands for a variable, in the order of the text."""
    nodes = nodes_of(code)
    roles = bindings(nodes)
    places = [node for node, parent in nodes if node.type == "identifier" and is_variable(node, parent)]
    return [Variable(text_of(node), node.start_byte, node.end_byte, roles.get(node, "used")) for node in places]


def calls(code: str) -> list[str]:
    """The names called, in order: dotted where all parts are names, else the method with a leading dot (``.strip``)."""
    names = []
    for node, _ in nodes_of(code):
        if node.type == "call" and (function := node.child_by_field_name("function")):
            text = "".join(text_of(function).split())
            names.append(text if re.fullmatch(r"[\w.]+", text) else "." + text.rpartition(".")[2])
    return [name for name in names if re.fullmatch(r"\.?\w[\w.]*", name)]


def identifiers(code: str) -> list[str]:
    """Every identifier in the order of the text, as often as it stands there.

    These are the names of variables, functions, classes, parameters, modules, attributes and keyword arguments, those
    in f-strings included; no keywords, no literals, nothing in comments. Broken code has those that can be made out.
    """
    return [text_of(node) for node, _ in nodes_of(code) if node.type == "identifier"]


def modules(code: str) -> list[str]:
    """The names that may stand for a module, in the order of the text: top-level ones of imports, and unbound owners.

    An owner is the first name of a dotted expression (``np`` in ``np.linalg.norm(x)``); one that the code itself
    imports counts as what it was imported from, one that the code binds otherwise is none.
    """
    nodes = nodes_of(code)
    origins = _imported(nodes)
    bound = {text_of(node) for node in bindings(nodes)}
    found = []
    for node, parent in nodes:
        if node.type in ("import_statement", "import_from_statement"):
            found += _sources(node)
        elif node.type == "identifier" and parent.type == "attribute" and is_variable(node, parent):
            name = text_of(node)
            if name in origins or name not in bound:
                found.append(origins.get(name, name))
    return found


def _imported(nodes: "Sequence[tuple[Node, Node]]") -> dict[str, str]:
    """The names that imports bind, each with the top-level module that it comes from."""
    found = {}
    for node, _ in nodes:
        if node.type in ("import_statement", "import_from_statement"):
            sources = _sources(node)
            for place, name in enumerate(node.children_by_field_name("name")):
                bound = name.child_by_field_name("alias") or name.named_children[0]
                if sources:
                    found[text_of(bound)] = sources[min(place, len(sources) - 1)]
    return found


def _sources(statement: "Node") -> list[str]:
    """The top-level modules that an import statement names; none for a relative import."""
    field = "module_name" if statement.type == "import_from_statement" else "name"
    names = [text_of(name).split(".")[0].split(" ")[0] for name in statement.children_by_field_name(field)]
    return [name for name in names if name]


def is_variable(node: "Node", parent: "Node") -> bool:
    """Whether a node is a name that stands for a variable."""
    match parent.type:
        case "attribute":
            return node != parent.child_by_field_name("attribute")
        case "keyword_argument" | "function_definition" | "class_definition":
            return node != parent.child_by_field_name("name")
        case "dotted_name" | "aliased_import" | "keyword_pattern":
            return False
        case _:
            return node.type == "identifier"


def bindings(nodes: "Sequence[tuple[Node, Node]]") -> "dict[Node, Role]":
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

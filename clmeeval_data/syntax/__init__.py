"""Python code as a syntax tree: does it parse, its tokens, names, normalised form, functions, how alike two trees are.

The only user of tree-sitter, which is imported when the first function here is called. A tree is made of any text, also
of broken code, and keeps every byte of it; so the answers of a model can be measured, and code can be edited in place.
"""

from clmeeval_data.syntax.definitions import Function, functions, strip_comments, strip_docstrings
from clmeeval_data.syntax.likeness import normalised, tree_similarity
from clmeeval_data.syntax.names import Role, Variable, calls, identifiers, modules, variables
from clmeeval_data.syntax.validity import comments, parses, tokens

__all__ = [
    "Function",
    "Role",
    "Variable",
    "calls",
    "comments",
    "functions",
    "identifiers",
    "modules",
    "normalised",
    "parses",
    "strip_comments",
    "strip_docstrings",
    "tokens",
    "tree_similarity",
    "variables",
]

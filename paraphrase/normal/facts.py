"""What the names of a text stand for, read from the compiler's own symbol table."""

import ast
import symtable
import warnings
from collections.abc import Iterator

_AT_ONCE = frozenset({"listcomp", "setcomp", "dictcomp"})


class Facts:
    """The names of one text.

    ``private`` names are variables of the function, lambda or generator expression in which they occur, wherever they
    do: nothing else of the text sees them, but for comprehensions, which run at once. ``changed`` are all names that
    anything in the text binds. ``steady`` names are parameters, private, and never deleted.
    """

    def __init__(self, code: str, tree: ast.Module) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
            tables = list(_tables(symtable.symtable(code, "<code>", "exec")))
        local: set[str] = set()
        shared: set[str] = set()
        parameters: set[str] = set()
        self.changed: set[str] = set()
        for table in tables:
            for symbol in table.get_symbols():
                name = symbol.get_name()
                if symbol.is_assigned() or symbol.is_parameter() or symbol.is_imported() or symbol.is_namespace():
                    self.changed.add(name)
                if symbol.is_parameter():
                    parameters.add(name)
                if table.get_type() == "module" or (table.get_type() == "function" and table.get_name() in _AT_ONCE):
                    continue
                declared = symbol.is_declared_global() or symbol.is_nonlocal() or symbol.is_free()
                owned = table.get_type() == "function" and symbol.is_local() and not declared
                (local if owned else shared).add(name)
        self.private = local - shared
        deleted = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)}
        deleted |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
        self.steady = (self.private & parameters) - deleted

    def is_builtin(self, name: str) -> bool:
        """Whether nothing in the text gives this name another meaning than the language does."""
        return name not in self.changed


def _tables(top: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    waiting = [top]
    while waiting:
        table = waiting.pop()
        yield table
        waiting.extend(table.get_children())


def uses(root: ast.AST, name: str) -> int:
    """How often a private name occurs in a tree; variables of comprehensions that bear the same name don't count."""
    count = 0
    waiting: list[ast.AST] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp) and name in targets_of(node):
            waiting.append(node.generators[0].iter)
            continue
        count += name in _own_names(node)
        waiting.extend(ast.iter_child_nodes(node))
    return count


def _own_names(node: ast.AST) -> list[str | None]:
    match node:
        case ast.Name(id=name) | ast.arg(arg=name):
            return [name]
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.MatchMapping(rest=name):
            return [name]
        case ast.alias():
            return [(node.asname or node.name).partition(".")[0]]
        case _:
            return []


def targets_of(comprehension: ast.ListComp | ast.SetComp | ast.DictComp) -> set[str]:
    """The names that a comprehension binds for itself."""
    parts = (part for generator in comprehension.generators for part in ast.walk(generator.target))
    return {part.id for part in parts if isinstance(part, ast.Name)}


def mentions(roots: list[ast.AST], names: set[str]) -> bool:
    """Whether any of the names occurs anywhere in these trees, in comprehensions too."""
    return any(isinstance(node, ast.Name) and node.id in names for root in roots for node in ast.walk(root))

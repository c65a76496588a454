"""What the names of one function stand for, as far as a rewriting has to know it."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp
_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.GeneratorExp)


class Scope:
    """The names of one function's own scope.

    What is inside nested functions, classes and generator expressions runs later: all names there are ``captured``.
    Comprehensions have variables of their own, which don't count here.
    """

    def __init__(self, function: FunctionNode) -> None:
        self.function = function
        self._places: dict[str, list[ast.AST]] = defaultdict(list)
        self.captured: set[str] = set()
        self.declared: set[str] = set()
        self._bound: set[str] = set()
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self._bind(argument.arg, argument)
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                self._bind(rest.arg, rest)
        self.parameters = frozenset(self._bound)
        for statement in function.body:
            self._read(statement, frozenset())

    def places(self, name: str) -> Sequence[ast.AST]:
        """The nodes at which a name stands for a variable of this scope, or for one from outside."""
        return self._places.get(name, ())

    def knows(self, name: str) -> bool:
        """Whether the name occurs here, or in what runs later."""
        return name in self._places or name in self.captured or name in self.declared

    def is_private(self, name: str) -> bool:
        """Whether the name is a variable of this function that nothing else can see, parameters included."""
        return name in self._bound and name not in self.declared and name not in self.captured

    def is_always_set(self, name: str) -> bool:
        """Whether the name is a parameter that is never deleted, so that reading it can't fail."""
        return name in self.parameters and self.is_private(name) and not any(map(_deletes, self.places(name)))

    def _bind(self, name: str, node: ast.AST) -> None:
        self._bound.add(name)
        self._places[name].append(node)

    def _read(self, node: ast.AST, inner: frozenset[str]) -> None:
        """Take in a node; ``inner`` are the variables of the comprehensions around it."""
        if isinstance(node, _LATER):
            self._read_later(node)
            return
        if isinstance(node, Comprehension):
            self._read_comprehension(node, inner)
            return
        for name in names_bound_by(node):
            if isinstance(node, ast.Name) and name in inner:
                continue
            self._bind(name, node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in inner:
            self._places[node.id].append(node)
        if isinstance(node, ast.Global | ast.Nonlocal):
            self.declared.update(node.names)
        for child in ast.iter_child_nodes(node):
            self._read(child, inner)

    def _read_later(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._bind(node.name, node)
        for part in ast.walk(node):
            self.captured.update(names_bound_by(part) if part is not node else ())
            if isinstance(part, ast.Name):
                self.captured.add(part.id)
            elif isinstance(part, ast.arg):
                self.captured.add(part.arg)
            elif isinstance(part, ast.Global | ast.Nonlocal):
                self.captured.update(part.names)

    def _read_comprehension(self, node: Comprehension, inner: frozenset[str]) -> None:
        self._read(node.generators[0].iter, inner)
        targets = (part for generator in node.generators for part in ast.walk(generator.target))
        inner |= {part.id for part in targets if isinstance(part, ast.Name)}
        for child in ast.iter_child_nodes(node):
            if child is not node.generators[0]:
                self._read(child, inner)
        for part in (node.generators[0].target, *node.generators[0].ifs):
            self._read(part, inner)


def names_bound_by(node: ast.AST) -> Iterator[str]:
    """The names that this node itself gives a value, or takes it from; not those bound by nodes inside it."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in aliases)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name


def _deletes(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del))

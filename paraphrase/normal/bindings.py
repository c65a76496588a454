"""The normal form of assignments: one variable each, comprehensions for loops that fill, no variable for a return."""

import ast
from collections.abc import Sequence

from clmeeval_data.paraphrase.normal.expressions import is_constant
from clmeeval_data.paraphrase.normal.facts import Facts, mentions, uses

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
With = ast.With | ast.AsyncWith
_NOT_AT_ONCE = (ast.Lambda, ast.GeneratorExp, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)


class Bindings:
    """Brings the assignments of one function into their normal form; nested functions are asked about separately."""

    def __init__(self, facts: Facts, function: FunctionNode) -> None:
        self._facts = facts
        self._function = function

    def apply(self, suite: list[ast.stmt], guarded: bool) -> None:
        """Rewrite one suite in place, not those inside its statements.

        Args:
            suite: The statements.
            guarded: Whether a ``try`` or ``with`` of the function is around them, so that the function may go on after
                an exception.
        """
        suite[:] = [part for statement in suite for part in self._separate(statement)]
        place = 0
        while place < len(suite):
            rest = suite[place:]
            shorter = self._filled(rest, guarded) or self._default(rest, guarded) or self._returned(rest, guarded)
            shorter = shorter or self._passed_on(rest)
            if shorter is None:
                place += 1
            else:
                suite[place:] = shorter

    def shorten(self, suite: list[ast.stmt], guarded: bool) -> None:
        """Rewrite ``x = e`` / ``return x`` at the end of one suite in place, before anything is made of ``e``."""
        if len(suite) > 1 and isinstance(last := suite[-1], ast.Return) and isinstance(last.value, ast.Name):
            before = suite[-2]
            if isinstance(before, ast.Assign):
                suite[-2:] = self._returned(suite[-2:], guarded) or suite[-2:]

    def _separate(self, node: ast.stmt) -> list[ast.stmt]:
        """``a, b = x, y`` and ``a = b = 0`` as two statements, ``with a, b`` as one inside the other."""
        match node:
            case ast.With(items=[first, *others]) | ast.AsyncWith(items=[first, *others]) if others:
                inner = type(node)(items=others, body=node.body)
                return [type(node)(items=[first], body=self._separate(inner))]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                values = list(values)
            case ast.Assign(targets=[_, _, *_] as targets, value=value) if is_constant(value):
                values = [value] * len(targets)
            case _:
                return [node]
        names = [target.id for target in targets if isinstance(target, ast.Name) and target.id in self._facts.private]
        if not len(set(names)) == len(targets) == len(values) or isinstance(values[0], ast.Starred):
            return [node]
        if not all(self._is_sure(value, names) for value in values[1:]):
            return [node]
        return [_assign(name, value) for name, value in zip(names, values, strict=True)]

    def _is_sure(self, value: ast.expr, changed: Sequence[str]) -> bool:
        """Whether a value can be had at any time: evaluating it has no effect, can't fail, and reads no such name."""
        match value:
            case ast.Name(id=name):
                return name in self._facts.steady and name not in changed
            case ast.List(elts=[]) | ast.Dict(keys=[]) | ast.Tuple(elts=[]):
                return True
            case _:
                return is_constant(value)

    def _is_unseen(self, name: str, rest: Sequence[ast.stmt], guarded: bool) -> bool:
        """Whether a private variable may hold anything if the first of these statements fails.

        It may where the function ends then; or else where every use is in the suite and behind its assignment, which
        is the first statement, so that whoever comes back here sets it first.
        """
        return not guarded or sum(uses(statement, name) for statement in rest) == uses(self._function, name)

    def _filled(self, rest: list[ast.stmt], guarded: bool) -> list[ast.stmt] | None:
        """``x = []`` / ``for t in y: x.append(e)`` as ``x = [e for t in y]``; the same for sets and dicts."""
        match rest:
            case [ast.Assign(targets=[ast.Name(id=name)], value=value) as first, ast.For() as loop, *after]:
                pass
            case [
                ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) as first,
                ast.For() as loop,
                *after,
            ]:
                pass
            case _:
                return None
        kind = self._kind_of_empty(value)
        found = None if kind is None else self._comprehension(name, kind, loop)
        if found is None or not self._is_unseen(name, rest, guarded):
            return None
        first.value = found
        return [first, *after]

    def _kind_of_empty(self, value: ast.expr) -> str | None:
        match value:
            case ast.List(elts=[]):
                return "list"
            case ast.Dict(keys=[]):
                return "dict"
            case ast.Call(func=ast.Name(id="set"), args=[], keywords=[]) if self._facts.is_builtin("set"):
                return "set"
            case _:
                return None

    def _comprehension(self, name: str, kind: str, loop: ast.For) -> ast.expr | None:
        """The comprehension that gives what the loop puts into an empty list, set or dict."""
        generators: list[ast.comprehension] = []
        body: list[ast.stmt] = [loop]
        bound: set[str] = set()
        while True:
            match body:
                case [ast.For(target=target, iter=iterable, body=inner, orelse=[])]:
                    generators.append(ast.comprehension(target, iterable, [], 0))
                    names = _plain_targets(target)
                    if names is None or bound & set(names):
                        return None
                    bound |= set(names)
                    body = inner
                case [ast.If(test=test, body=[ast.Continue()], orelse=[]), *inner] if inner:
                    generators[-1].ifs.append(ast.UnaryOp(ast.Not(), test))
                    body = inner
                case [ast.If(test=test, body=inner, orelse=[])]:
                    generators[-1].ifs.append(test)
                    body = inner
                case _:
                    break
        made = _made(name, kind, generators, body, bound)
        return made if made is not None and self._is_closed(name, loop, generators, made, bound) else None

    def _is_closed(
        self, name: str, loop: ast.For, generators: Sequence[ast.comprehension], made: ast.expr, bound: set[str]
    ) -> bool:
        """Whether the loop's variables are its own, and nothing in it reads the result or runs at another time."""
        inside = [generator.iter for generator in generators] + [test for found in generators for test in found.ifs]
        inside += [made.key, made.value] if isinstance(made, ast.DictComp) else [getattr(made, "elt", made)]
        if name not in self._facts.private or name in bound or mentions(list(inside), {name, "super", "__class__"}):
            return False
        if any(isinstance(node, _NOT_AT_ONCE) for part in inside for node in ast.walk(part)):
            return False
        if not bound <= self._facts.private or any(uses(loop, own) != uses(self._function, own) for own in bound):
            return False
        later = set(bound)
        for generator in generators:
            if mentions([generator.iter], later):
                return False
            later -= set(_plain_targets(generator.target) or ())
            if mentions(list(generator.ifs), later):
                return False
        return True

    def _passed_on(self, rest: list[ast.stmt]) -> list[ast.stmt] | None:
        """``x = e`` / ``a.b = x`` as ``a.b = e``, the same for ``a[b]``, where ``x`` occurs nowhere else."""
        match rest:
            case [
                ast.Assign(targets=[ast.Name(id=name)], value=value),
                ast.Assign(targets=[ast.Attribute() | ast.Subscript()], value=ast.Name(id=again)) as last,
                *after,
            ] if name == again and name in self._facts.private and uses(self._function, name) == 2:
                last.value = value
                return [last, *after]
            case _:
                return None

    def _default(self, rest: list[ast.stmt], guarded: bool) -> list[ast.stmt] | None:
        """``x = b`` / ``if c: x = a`` as ``if c: x = a`` / ``else: x = b``, where ``b`` is a constant."""
        match rest:
            case [
                ast.Assign(targets=[ast.Name(id=name)], value=default) as first,
                ast.If(test=test, body=[ast.Assign(targets=[ast.Name(id=again)], value=value)], orelse=[]) as choice,
                *after,
            ] if name == again and name in self._facts.private and isinstance(default, ast.Constant):
                if uses(test, name) or uses(value, name) or not self._is_unseen(name, rest, guarded):
                    return None
                choice.orelse = [first]
                return [choice, *after]
            case _:
                return None

    def _returned(self, rest: list[ast.stmt], guarded: bool) -> list[ast.stmt] | None:
        """``x = e`` / ``return x`` as ``return e``, also where what is returned begins by evaluating ``x``."""
        match rest:
            case [ast.Assign(targets=[ast.Name(id=name)], value=value), ast.Return(ast.expr()) as end, *_]:
                return rest[1:] if self._merge(name, value, end, guarded) else None
            case [
                ast.Assign(targets=[ast.Name(id=name)], value=value),
                ast.If(body=[ast.Return(ast.Constant())], orelse=[ast.Return(ast.Constant())]) as answer,
                *_,
            ]:
                return rest[1:] if self._answer(name, value, answer, guarded) else None
            case [ast.If() as choice, ast.Return(value=ast.Name(id=name)), *after] if _sets(choice, name):
                for branch in (choice.body, choice.orelse):
                    branch.append(ast.Return(ast.Name(name, ast.Load())))
                return [choice, *after]
            case _:
                return None

    def _merge(self, name: str, value: ast.expr, end: ast.Return, guarded: bool) -> bool:
        """Whether the value could take the place of the variable in the return."""
        others = uses(self._function, name) - 2
        if name not in self._facts.private or uses(end, name) != 1 or end.value is None:
            return False
        if guarded and (others or not isinstance(end.value, ast.Name)):
            return False
        replaced = _with_first(end.value, name, value)
        end.value = replaced or end.value
        return replaced is not None

    def _answer(self, name: str, value: ast.expr, answer: ast.If, guarded: bool) -> bool:
        """The same for ``return x in y``, once that has become two returns."""
        inner = answer.test.operand if isinstance(answer.test, ast.UnaryOp) else answer.test
        if guarded or name not in self._facts.private or uses(self._function, name) != 2 or isinstance(inner, ast.Name):
            return False
        replaced = _with_first(inner, name, value)
        if replaced is not None:
            answer.test = ast.UnaryOp(ast.Not(), replaced) if inner is not answer.test else replaced
        return replaced is not None


def _assign(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _plain_targets(target: ast.expr) -> list[str] | None:
    match target:
        case ast.Name(id=name):
            return [name]
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            names = [name for part in parts for name in _plain_targets(part) or [""]]
            return None if "" in names or len(set(names)) < len(names) else names
        case _:
            return None


def _made(
    name: str, kind: str, generators: list[ast.comprehension], body: Sequence[ast.stmt], bound: set[str]
) -> ast.expr | None:
    match body:
        case [
            ast.Expr(ast.Call(func=ast.Attribute(value=ast.Name(id=filled), attr=method), args=[value], keywords=[]))
        ]:
            if filled != name or isinstance(value, ast.Starred) or (kind, method) not in _METHODS:
                return None
            return ast.ListComp(value, generators) if kind == "list" else ast.SetComp(value, generators)
        case [ast.Assign(targets=[ast.Subscript(value=ast.Name(id=filled), slice=key)], value=value)]:
            if filled != name or kind != "dict" or isinstance(key, ast.Slice):
                return None
            early = any(isinstance(part, ast.Constant) or getattr(part, "id", "") in bound for part in (key, value))
            return ast.DictComp(key, value, generators) if early else None
        case _:
            return None


_METHODS = {("list", "append"), ("set", "add")}


def _sets(choice: ast.If, name: str) -> bool:
    """Whether one of the branches ends by setting this variable."""
    for branch in (choice.body, choice.orelse):
        match branch:
            case [*_, ast.Assign(targets=[ast.Name(id=found)])] if found == name:
                return True
    return False


def _with_first(result: ast.expr, name: str, value: ast.expr) -> ast.expr | None:
    """The expression with a value in place of the name that it evaluates first; None where that is another."""
    match result:
        case ast.Name(id=found):
            return value if found == name else None
        case ast.Attribute(value=inner) | ast.Subscript(value=inner):
            field = "value"
        case ast.Call(func=inner):
            field = "func"
        case ast.BinOp(left=inner) | ast.Compare(left=inner):
            field = "left"
        case _:
            return None
    replaced = _with_first(inner, name, value)
    if replaced is None:
        return None
    setattr(result, field, replaced)
    return result

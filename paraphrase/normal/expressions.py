"""The normal form of expressions: one way to write a condition, a string that is put together, an empty display."""

import ast
import builtins
import string
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from clmeeval_data.paraphrase.normal.facts import Facts

_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
_LENGTH_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt},
}
_MIRROR: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.Eq},
}
_PLAIN_TYPES = (int, float, complex, str, bytes, bool, type(None))


class Expressions(ast.NodeTransformer):
    """Brings all expressions of a tree into their normal form."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Displays for calls of ``list``, ``dict`` and ``tuple``, f-strings for ``format``."""
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id=name)) if self._facts.is_builtin(name):
                return self._of_builtin(name, node)
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as template), attr="format")):
                return self._visited(formatted(template, node.args, node.keywords, self._facts.private)) or node
        return node

    def _of_builtin(self, name: str, node: ast.Call) -> ast.expr:
        made: ast.expr = node
        match name, node.args, node.keywords:
            case "list", [], []:
                made = ast.List(elts=[], ctx=ast.Load())
            case "tuple", [], []:
                made = ast.Tuple(elts=[], ctx=ast.Load())
            case "dict", [], pairs if all(pair.arg is not None for pair in pairs):
                made = ast.Dict(keys=[ast.Constant(pair.arg) for pair in pairs], values=[pair.value for pair in pairs])
            case "range", [ast.Constant(value=0) as zero, stop], [] if not isinstance(stop, ast.Starred):
                node.args = [stop] if type(zero.value) is int else node.args
            case "isinstance", [ast.Name(id=value), ast.Tuple(elts=[_, _, *_] as kinds)], []:
                made = self._several_types(node, value, kinds)
            case "open", [path, ast.Constant(value="r")], [] if not isinstance(path, ast.Starred):
                node.args = [path]
        return made

    def _several_types(self, node: ast.Call, value: str, kinds: Sequence[ast.expr]) -> ast.expr:
        names = [kind.id for kind in kinds if isinstance(kind, ast.Name) and self._facts.is_builtin(kind.id)]
        if value not in self._facts.private or len(names) < len(kinds):
            return node
        if not all(isinstance(getattr(builtins, name, None), type) for name in names):
            return node
        return ast.BoolOp(ast.Or(), [ast.Call(node.func, [_name(value), kind], []) for kind in kinds])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """F-strings for sums of strings, and for ``%`` in front of a tuple, or of what can't be one."""
        self.generic_visit(node)
        if isinstance(node.op, ast.Add) and (left := self._string(node.left)) and (right := self._string(node.right)):
            return _joined([*left, *right])
        match node:
            case ast.BinOp(left=ast.Constant(value=str() as template), op=ast.Mod(), right=ast.Tuple(elts=values)):
                return self._visited(_interpolated(template, values)) or node
            case ast.BinOp(left=ast.Constant(value=str() as template), op=ast.Mod(), right=ast.Call() as value):
                match value:
                    case ast.Call(func=ast.Name(id="repr" | "hex" | "ascii" | "len" as name), args=[_], keywords=[]):
                        if self._facts.is_builtin(name):
                            return self._visited(_interpolated(template, [value])) or node
        return node

    def _visited(self, made: ast.expr | None) -> ast.expr | None:
        """What was made, with its pieces in their normal form as well."""
        visited: ast.expr | None = self.visit(made) if isinstance(made, ast.JoinedStr) else made
        return visited

    def _string(self, node: ast.expr) -> list[ast.expr] | None:
        """The pieces of an f-string for an expression that is certain to give a string; None for any other."""
        match node:
            case ast.Constant(value=str()):
                return [node]
            case ast.JoinedStr(values=values):
                return list(values)
            case ast.Call(func=ast.Name(id="str" | "repr" as name), args=[value], keywords=[]):
                known = self._facts.is_builtin(name) and not isinstance(value, ast.Starred)
                return [_field(value, name[0], None)] if known else None
            case _:
                return None

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        """A plain string where nothing is put in."""
        self.generic_visit(node)
        return _joined(node.values)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        """A conversion for a call of ``str`` or ``repr`` that is formatted as it is, and none for whole numbers."""
        self.generic_visit(node)
        if node.format_spec is None and node.conversion in (-1, ord("s")):
            match node.value:
                case ast.Call(func=ast.Name(id="str" | "repr" as name), args=[value], keywords=[]):
                    if self._facts.is_builtin(name) and not isinstance(value, ast.Starred):
                        return ast.FormattedValue(value, ord(name[0]), None)
            if self.is_length(node.value):
                return ast.FormattedValue(node.value, -1, None)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Constants on the right; a range as two comparisons."""
        self.generic_visit(node)
        match node:
            case ast.Compare(left=left, ops=[first, second], comparators=[ast.Name(id=name) as middle, right]):
                if name in self._facts.private:
                    parts = [ast.Compare(left, [first], [middle]), ast.Compare(_name(name), [second], [right])]
                    return ast.BoolOp(ast.And(), [_mirrored(part) for part in parts])
                return node
            case ast.Compare(ops=[_]):
                return self._without_length_below_0(_mirrored(node))
            case _:
                return node

    def _without_length_below_0(self, node: ast.Compare) -> ast.Compare:
        """``len(x) != 0`` for ``len(x) > 0``, and the opposites: no length is negative."""
        match node:
            case ast.Compare(left=left, ops=[ast.Gt() | ast.LtE() as operator], comparators=[ast.Constant(value=0)]):
                kind = ast.NotEq if isinstance(operator, ast.Gt) else ast.Eq
                is_number = self.is_length(left) and _is_number(node.comparators[0])
                return ast.Compare(left, [kind()], node.comparators) if is_number else node
            case _:
                return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        """``x not in y`` for ``not x in y``."""
        self.generic_visit(node)
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=ast.Compare(ops=[operator]) as inner) if type(operator) in _OPPOSITE:
                return ast.Compare(inner.left, [_OPPOSITE[type(operator)]()], inner.comparators)
            case _:
                return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        """The condition or its opposite, whichever comes first in the alphabet."""
        self.generic_visit(node)
        test, opposite = self.test(node.test), self.test(node.test, holds=False)
        if ast.dump(opposite) < ast.dump(test):
            return ast.IfExp(opposite, node.orelse, node.body)
        return ast.IfExp(test, node.body, node.orelse)

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        """One condition instead of several."""
        self.generic_visit(node)
        if node.ifs:
            whole = node.ifs[0] if len(node.ifs) == 1 else ast.BoolOp(ast.And(), node.ifs)
            node.ifs = [self.test(whole)]
        return node

    def test(self, node: ast.expr, holds: bool = True) -> ast.expr:
        """A condition of which only the truth counts, or its opposite, with ``not`` as far inside as it goes."""
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.test(operand, not holds)
            case ast.BoolOp(op=operator, values=values):
                is_and = isinstance(operator, ast.And) == holds
                kind = ast.And if is_and else ast.Or
                flat: list[ast.expr] = []
                for part in (self.test(value, holds) for value in values):
                    flat += part.values if isinstance(part, ast.BoolOp) and isinstance(part.op, kind) else [part]
                return ast.BoolOp(kind(), flat)
            case ast.Compare(left=left, ops=[operator], comparators=right) if not holds:
                table = _LENGTH_OPPOSITE if self.is_length(left) and _is_number(right[0]) else _OPPOSITE
                if type(operator) in table:
                    return ast.Compare(left, [table[type(operator)]()], right)
        return node if holds else ast.UnaryOp(ast.Not(), node)

    def is_length(self, node: ast.expr) -> bool:
        """Whether the expression is the length of something, hence a whole number."""
        match node:
            case ast.Call(func=ast.Name(id="len"), args=[value], keywords=[]):
                return self._facts.is_builtin("len") and not isinstance(value, ast.Starred)
            case _:
                return False

    def is_truth(self, node: ast.expr) -> bool:
        """Whether the expression can be nothing but True or False, and asks no value for its truth twice."""
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return type(operator) in _OPPOSITE or (self.is_length(left) and _is_number(right))
            case ast.UnaryOp(op=ast.Not(), operand=ast.BoolOp() as operand):
                return self.is_truth(operand)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not isinstance(operand, ast.Compare) or len(operand.ops) == 1
            case ast.BoolOp(values=values):
                return all(map(self.is_truth, values))
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "callable" | "hasattr" as name)):
                return self._facts.is_builtin(name)
        return False


def is_constant(node: ast.expr) -> bool:
    """Whether the expression is a value of a plain builtin type as written."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)
    return isinstance(node, ast.Constant) and isinstance(node.value, _PLAIN_TYPES)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _mirrored(node: ast.Compare) -> ast.Compare:
    """A constant on the left of a comparison goes to the right; it answers for no type but its own."""
    right = node.comparators[0]
    if is_constant(node.left) and not is_constant(right) and type(node.ops[0]) in _MIRROR:
        return ast.Compare(right, [_MIRROR[type(node.ops[0])]()], [node.left])
    return node


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _joined(values: Sequence[ast.expr]) -> ast.expr:
    """An f-string without empty or adjacent pieces of text."""
    merged: list[ast.expr] = []
    for value in values:
        match merged, value:
            case _, ast.Constant(value=""):
                continue
            case [*_, ast.Constant(value=str() as before)], ast.Constant(value=str() as after):
                merged[-1] = ast.Constant(before + after)
            case _:
                merged.append(value)
    if not merged or (len(merged) == 1 and isinstance(merged[0], ast.Constant)):
        return merged[0] if merged else ast.Constant("")
    return ast.JoinedStr(merged)


def _are_variables(values: Sequence[ast.expr], private: AbstractSet[str]) -> bool:
    return all(isinstance(value, ast.Name) and value.id in private for value in values)


def formatted(
    template: str, values: Sequence[ast.expr], named: Sequence[ast.keyword], private: AbstractSet[str]
) -> ast.expr | None:
    """What does the same as ``template.format(...)``, or None where that is not certain.

    Args:
        template: The text with its fields.
        values: The arguments that go by their places.
        named: The arguments that go by their names.
        private: Names of variables that can be read at any time without effect.
    """
    given: dict[str, ast.expr] = {str(number): value for number, value in enumerate(values)}
    given |= {pair.arg: pair.value for pair in named if pair.arg is not None}
    if len(given) < len(values) + len(named) or any(isinstance(value, ast.Starred) for value in values):
        return None
    parts: list[ast.expr] = []
    used: list[str] = []
    automatic = 0
    try:
        for text, name, spec, conversion in string.Formatter().parse(template):
            parts.append(ast.Constant(text))
            if name is None:
                continue
            used.append(name or str(automatic))
            automatic += name == ""
            if used[-1] not in given or "{" in (spec or "") or (automatic and name.isdigit()):
                return None
            parts.append(_field(given[used[-1]], conversion, spec))
    except ValueError:
        return None
    is_once = bool(given) and len(used) == len(set(used)) == len(given)
    in_order = used == list(given)
    if not is_once:
        return None
    if _are_variables(list(given.values())[in_order:], private):
        return _joined(parts)
    return _put_together(parts, list(given.values())) if in_order else None


def _put_together(parts: Sequence[ast.expr], values: Sequence[ast.expr]) -> ast.expr:
    """A call of ``format`` with fields that have no names."""
    shown = [_shown(part) for part in parts]
    template = ast.Constant("".join(shown))
    return ast.Call(ast.Attribute(template, "format", ast.Load()), list(values), [])


def _shown(part: ast.expr) -> str:
    """A piece of an f-string as a piece of a template without names."""
    match part:
        case ast.FormattedValue(conversion=conversion, format_spec=spec):
            kind = f"!{chr(conversion)}" if conversion != -1 else ""
            match spec:
                case ast.JoinedStr(values=[ast.Constant(value=str(written))]):
                    return f"{{{kind}:{written}}}"
            return f"{{{kind}}}"
        case ast.Constant(value=value):
            return str(value).replace("{", "{{").replace("}", "}}")
        case _:
            raise ValueError(f"an f-string has no piece of this kind: {ast.dump(part)}")


def _field(value: ast.expr, conversion: str | None, spec: str | None) -> ast.FormattedValue:
    shown = ast.JoinedStr([ast.Constant(spec)]) if spec else None
    return ast.FormattedValue(value, ord(conversion) if conversion else -1, shown)


def _interpolated(template: str, values: Sequence[ast.expr]) -> ast.expr | None:
    """The f-string that does the same as ``template % values``, or None where that is not certain.

    The compiler (CPython from 3.11 on) makes the same of it, so that each value is formatted before the next one is
    evaluated.
    """
    parts: list[ast.expr] = []
    waiting = list(values)
    pieces = template.replace("%%", "\0").split("%")
    if "\0" in template or not values:
        return None
    parts.append(ast.Constant(pieces[0].replace("\0", "%")))
    for piece in pieces[1:]:
        if piece[:1] not in ("s", "r") or not waiting or isinstance(waiting[0], ast.Starred):
            return None
        parts += [_field(waiting.pop(0), piece[0], None), ast.Constant(piece[1:].replace("\0", "%"))]
    return None if waiting else _joined(parts)

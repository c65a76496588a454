"""The same string by ``str.format``, by an f-string, or by ``%``, where the order of events stays certain.

``format`` evaluates all its arguments before it formats the first, an f-string one after the other: so all but the
first have to be local variables, which have no effects. ``%s`` becomes ``!s``, since formatting may differ from
``str``. ``%`` counts only in front of a tuple as written, since any other value might be one; there, CPython makes an
f-string of it itself.
"""

import ast
import re
import string
from collections.abc import Iterator, Mapping, Sequence

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import WIDTH, FunctionText, Replacement, Site
from clmeeval_data.paraphrase.rewrites.negation import TIGHTER, is_length, level

_PLACEHOLDER = re.compile(r"%(.)", re.DOTALL)
_UNFIT = re.compile(r"[\\{}#\n:!=]")  # in an expression inside an f-string, before Python 3.12 or at any time
_SPEC = re.compile(r"[^{}\\'\"]*")


def find(text: FunctionText, choice: Choice) -> Iterator[Site]:
    """Every string that is put together and can be written another way."""
    for node in text.nodes:
        if node in text.in_f_strings:
            continue
        written: str | None = None
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()) as template, attr="format")):
                written = _from_format(text, template, node)
            case ast.BinOp(left=ast.Constant(value=str()) as template, op=ast.Mod(), right=right):
                written = _from_percent(text, template, right, choice)
            case ast.JoinedStr():
                written = _to_format(text, node)
            case ast.BinOp(op=ast.Add()) if not _is_in_sum(text, node):
                written = _from_sum(text, node)
            case _:
                continue
        if written is not None and _fits(text, node, written):
            yield Site((Replacement(text.start(node), text.end(node), written),))


def _fits(text: FunctionText, node: ast.expr, written: str) -> bool:
    line = text.line_text(text.line_of(text.start(node)))
    return "\n" not in text.segment(node) and len(line) - len(text.segment(node)) + len(written) <= WIDTH


def _quoted(text: FunctionText, node: ast.expr) -> tuple[str, str] | None:
    """The quote of a plain string of one part, and what is inside as written; None for any other."""
    segment = text.segment(node)
    quote = segment[:1]
    if quote not in ("'", '"') or segment.startswith(quote * 3) or "\n" in segment:
        return None
    if re.fullmatch(rf"{quote}(?:\\[nrt\\'\"]|[^\\{quote}])*{quote}", segment) is None:
        return None  # several strings that the parser joins, or an escape that may stand for a sign with a meaning
    return quote, segment[1:-1]


def _from_format(text: FunctionText, template: ast.Constant, call: ast.Call) -> str | None:
    """``"{} {}".format(a, b)`` as an f-string."""
    quoted = _quoted(text, template)
    if quoted is None or any(keyword.arg is None for keyword in call.keywords):
        return None
    values: dict[str, ast.expr] = {str(place): value for place, value in enumerate(call.args)}
    values |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None}
    written = {name: _inside(text, value, quoted[0]) for name, value in values.items()}
    if None in written.values() or not _is_in_order(text, call, list(values.values())):
        return None
    pieces = _fields(quoted[1], written)
    return None if pieces is None else f"f{quoted[0]}{''.join(pieces)}{quoted[0]}"


def _fields(template: str, written: Mapping[str, str | None]) -> list[str] | None:
    """The pieces of an f-string for a template of ``format`` that uses each value once."""
    pieces: list[str] = []
    used: list[str] = []
    automatic = 0
    try:
        for literal, name, spec, conversion in string.Formatter().parse(template):
            pieces.append(literal.replace("{", "{{").replace("}", "}}"))
            if name is None:
                continue
            used.append(name or str(automatic))
            automatic += name == ""
            if used[-1] not in written or _SPEC.fullmatch(spec or "") is None or (automatic and name.isdigit()):
                return None
            shown = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            pieces.append(f"{{{written[used[-1]]}{shown}}}")
    except ValueError:
        return None
    return pieces if used and sorted(used) == sorted(written) else None


def _inside(text: FunctionText, node: ast.expr, quote: str) -> str | None:
    """An expression as it can stand inside an f-string of any version of Python."""
    segment = text.segment(node)
    if _UNFIT.search(segment) or quote in segment or isinstance(node, ast.Starred | ast.Constant):
        return None
    return segment if level(node) == TIGHTER and not any(map(_waits, ast.walk(node))) else None


def _waits(node: ast.AST) -> bool:
    return isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.Lambda | ast.GeneratorExp | ast.ListComp)


def _is_in_order(text: FunctionText, node: ast.expr, values: Sequence[ast.expr]) -> bool:
    """Whether it makes no difference if a value is formatted before the next one is evaluated."""
    scope = text.scope_of(node)
    return len(values) == 1 or (
        scope is not None and all(isinstance(value, ast.Name) and scope.is_private(value.id) for value in values[1:])
    )


def _from_percent(text: FunctionText, template: ast.Constant, right: ast.expr, choice: Choice) -> str | None:
    """``"%s %s" % (a, b)`` as an f-string or by ``format``."""
    quoted = _quoted(text, template)
    values = list(right.elts) if isinstance(right, ast.Tuple) else [right]
    if quoted is None or not (isinstance(right, ast.Tuple) or _is_no_tuple(text, right)):
        return None
    kinds = _PLACEHOLDER.findall(quoted[1])
    if quoted[1].count("%") != len(kinds) + kinds.count("%"):
        return None
    if set(kinds) - {"s", "r", "%"} or len(kinds) - kinds.count("%") != len(values) or not values:
        return None
    written = [_inside(text, value, quoted[0]) for value in values]
    if None in written:
        return None
    by_format = _is_in_order(text, template, values) and choice.one_in(3, f"format {text.start(template)}")
    parts, waiting = [], iter(list(zip(values, written, strict=True)))
    for place, piece in enumerate(_PLACEHOLDER.split(quoted[1])):
        if place % 2 == 0:
            parts.append(piece.replace("{", "{{").replace("}", "}}"))
        elif piece == "%":
            parts.append("%")
        else:
            value, shown = next(waiting)
            kind = "" if piece == "s" and _is_text(text, value) else f"!{piece}"
            parts.append(f"{{{'' if by_format else shown}{kind}}}")
    body = quoted[0] + "".join(parts) + quoted[0]
    return f"{body}.format({', '.join(map(str, written))})" if by_format else f"f{body}"


def _is_text(text: FunctionText, node: ast.expr) -> bool:
    """Whether a value is a string or a whole number for certain, so that formatting it is what ``str`` does."""
    match node:
        case ast.Call(func=ast.Name(id="str" | "repr" as name), args=[_], keywords=[]):
            return text.is_builtin(name)
        case _:
            return is_length(text, node)


def _is_in_sum(text: FunctionText, node: ast.AST) -> bool:
    return isinstance(around := text.parents[node], ast.BinOp) and isinstance(around.op, ast.Add)


def _from_sum(text: FunctionText, node: ast.BinOp) -> str | None:
    """``"a" + str(b)`` as an f-string."""
    parts = _summed(node)
    quotes = [quoted for part in parts if isinstance(part, ast.Constant) and (quoted := _quoted(text, part))]
    if not quotes or len({quote for quote, _ in quotes}) > 1 or len(quotes) == len(parts):
        return None
    pieces: list[str] = []
    for part in parts:
        match part:
            case ast.Constant(value=str()) if (quoted := _quoted(text, part)) is not None:
                pieces.append(quoted[1].replace("{", "{{").replace("}", "}}"))
            case ast.Call(func=ast.Name(id="str" | "repr" as name), args=[value], keywords=[]) if text.is_builtin(name):
                inside = _inside(text, value, quotes[0][0])
                if inside is None:
                    return None
                pieces.append(f"{{{inside}!{name[0]}}}")
            case _:
                return None
    return f"f{quotes[0][0]}{''.join(pieces)}{quotes[0][0]}"


def _summed(node: ast.expr) -> list[ast.expr]:
    """The parts of a sum, from left to right; one in parentheses on the right stays whole."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_summed(node.left), node.right]
    return [node]


def _is_no_tuple(text: FunctionText, node: ast.expr) -> bool:
    """Whether a value is certain to be a plain string or number."""
    match node:
        case ast.Call(func=ast.Name(id="repr" | "hex" | "ascii" as name), args=[_], keywords=[]):
            return text.is_builtin(name)
        case _:
            return is_length(text, node)


def _to_format(text: FunctionText, node: ast.JoinedStr) -> str | None:
    """``f"{a} {b}"`` as ``"{} {}".format(a, b)``."""
    segment = text.segment(node)
    if re.fullmatch(r"f(['\"])(?!\1)[^\\'\"]*\1", segment) is None:
        return None
    quote, values, parts = segment[1], [], []
    for part in node.values:
        match part:
            case ast.Constant(value=str(literal)):
                parts.append(literal.replace("{", "{{").replace("}", "}}"))
            case ast.FormattedValue(value=value, conversion=conversion, format_spec=spec):
                shown = _field(conversion, spec)
                if shown is None or level(value) != TIGHTER or isinstance(value, ast.Constant):
                    return None
                values.append(value)
                parts.append(shown)
    if (
        not values
        or not _is_in_order(text, node, values)
        or any(_waits(part) for value in values for part in ast.walk(value))
    ):
        return None
    arguments = ", ".join(ast.unparse(value) for value in values)
    body = "".join(parts)
    is_same = segment == f"f{quote}{_with_values(body, values)}{quote}"
    return f"{quote}{body}{quote}.format({arguments})" if is_same and quote not in arguments else None


def _field(conversion: int, spec: ast.expr | None) -> str | None:
    """A replacement field of ``format`` without a name; None where its format is computed."""
    shown = f"!{chr(conversion)}" if conversion != -1 else ""
    match spec:
        case None:
            return f"{{{shown}}}"
        case ast.JoinedStr(values=[ast.Constant(value=str(written))]):
            return f"{{{shown}:{written}}}"
        case _:
            return None


def _with_values(body: str, values: Sequence[ast.expr]) -> str:
    """The template with its fields filled in as in an f-string, to see that it says what was written."""
    waiting = iter(values)
    return re.sub(r"\{\{|\}\}|\{(?=[!:}])", lambda found: _opened(found.group(), waiting), body)


def _opened(found: str, waiting: Iterator[ast.expr]) -> str:
    return found if len(found) == 2 else "{" + ast.unparse(next(waiting))

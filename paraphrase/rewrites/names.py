"""Other names for local variables and for parameters."""

import ast
import re
import symtable
import warnings
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from clmeeval_data import syntax
from clmeeval_data.paraphrase.rename import local_names, with_names
from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import FunctionText
from clmeeval_data.paraphrase.rewrites.naming import RESERVED, named_after
from clmeeval_data.paraphrase.rewrites.scope import names_bound_by
from clmeeval_data.paraphrase.rewrites.vocabulary import others, plain_others

_SHORT = 3  # letters of a name that says little
_ROLES = ("assigned", "context", "caught", "parameter")
# Decorators that hand the arguments on as they come.
_TRANSPARENT = frozenset({"staticmethod", "classmethod", "property", "abstractmethod", "contextmanager", "override"})
# What takes expressions as strings, and looks their names up in the function that calls it.
_READS_NAMES = frozenset({"query", "eval", "evaluate", "sqldf", "read_sql"})
# The first parameter of a function that a web framework calls by name.
_CALLED_BY_NAME = frozenset({"request"})


def renamed(
    text: FunctionText, choice: Choice, known: AbstractSet[str] | None = None, at_any_rate: bool = False
) -> str | None:
    """The function with other names for its variables, where there are natural ones; None where there is none.

    A name stays that a comment or docstring mentions, that isn't a variable of one scope alone, or that is passed to
    something that reads names from strings. Parameters stay in functions that others may call by their names: with
    ``**kwargs``, with a decorator that isn't known to hand arguments on, tests, and where the function calls itself so.

    Args:
        text: The function.
        choice: Decides among several names.
        known: The names that may change; None for all.
        at_any_rate: Make up a name for one variable where the vocabulary has none.
    """
    mentioned = set(re.findall(r"\w+", " ".join([*syntax.comments(text.text), *_read_strings(text)])))
    wanted = (local_names(text.text) | _parameters(text)) - mentioned
    wanted = wanted if known is None else wanted & known
    places = [place for place in syntax.variables(text.text) if place.name in wanted]
    chosen = _choose(text, places, choice, plain_others if at_any_rate else others)
    chosen = dict(list(chosen.items())[:1]) if at_any_rate else chosen
    result = with_names(text.text, places, chosen)
    return result if chosen and result != text.text else None


def _choose(
    text: FunctionText,
    places: Sequence[syntax.Variable],
    choice: Choice,
    names: Callable[[str, str], Iterator[str]],
) -> dict[str, str]:
    made = dict(_made(text))
    roles: dict[str, str] = {}
    counted, looped, together = (set(find(text.nodes)) for find in (_counted, _looped, _together))
    for place in places:
        if place.role == "loop":
            is_pair = place.name in ("k", "v") and {"k", "v"} <= together
            inside = "together" if place.name in together else "loop" if place.name in looped else "inside"
            inside = "paired" if is_pair else inside
            roles.setdefault(place.name, "counted" if place.name in counted else inside)
        elif place.role in _ROLES:
            roles.setdefault(place.name, place.role)
    taken = set(text.words) | RESERVED
    chosen: dict[str, str] = {}
    for name, role in roles.items():
        candidates = [other for other in (*names(name, role), *made.get(name, ())) if other not in taken]
        if candidates:
            last = name.rpartition("_")[2].rstrip("s")  # names that end alike change alike
            chosen[name] = choice.pick(f"name {last}", candidates[:3])
            taken.add(chosen[name])
    return chosen


def _made(text: FunctionText) -> Iterator[tuple[str, Sequence[str]]]:
    """The variables with short names that hold one new object, with names after its class."""
    bound = [name for node in text.nodes for name in names_bound_by(node)]
    bound += [node.arg for node in text.nodes if isinstance(node, ast.arg)]
    for node in text.nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=called)) if name.isalpha():
                word = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if len(name) <= _SHORT and bound.count(name) == 1:
                    yield name, named_after(word)


def _looped(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """The variables of loops, but not those of comprehensions."""
    for node in nodes:
        if isinstance(node, ast.For | ast.AsyncFor):
            yield from (part.id for part in ast.walk(node.target) if isinstance(part, ast.Name))


def _together(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """The variables of loops that bind several at once."""
    for node in nodes:
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and not isinstance(node.target, ast.Name):
            yield from (part.id for part in ast.walk(node.target) if isinstance(part, ast.Name))


def _counted(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """The variables of loops that count: over ``range``, the first ones over ``enumerate``, and those in indices."""
    for node in nodes:
        if isinstance(node, ast.Subscript):
            yield from (
                part.id for part in ast.walk(node.slice) if isinstance(part, ast.Name) and part.id in ("i", "j", "n")
            )
        if isinstance(node, ast.For | ast.comprehension):
            match node.iter, node.target:
                case ast.Call(func=ast.Name(id="range" | "xrange")), ast.Name(id=name):
                    yield name
                case ast.Call(func=ast.Name(id="enumerate")), ast.Tuple(elts=[ast.Name(id=name), *_]):
                    yield name


def _read_strings(text: FunctionText) -> Iterator[str]:
    """The strings that may say something about a name: docstrings, and all where something reads names from them."""
    called = {name.rpartition(".")[2] for name in syntax.calls(text.text)}
    for node in ast.walk(text.tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(value))):
                yield value
            case ast.Constant(value=str(value)) if called & _READS_NAMES:
                yield value


def _parameters(text: FunctionText) -> set[str]:
    """The parameters whose names nobody else needs."""
    arguments = text.function.args
    everything = [*arguments.posonlyargs, *arguments.args]
    names = {argument.arg for argument in everything[_is_bound_to_first(text) :]}
    if arguments.kwarg is not None or arguments.kwonlyargs or names & _CALLED_BY_NAME or not _is_called_by_place(text):
        return set()
    return {name for name in names if not name.startswith("_")} - _seen_elsewhere(text)


def _is_bound_to_first(text: FunctionText) -> bool:
    """Whether the first parameter is the object or class that a method belongs to."""
    arguments = text.function.args
    first = [*arguments.posonlyargs, *arguments.args][:1]
    return bool(first) and first[0].arg in ("self", "cls", "mcs", "klass", "metacls")


def _is_called_by_place(text: FunctionText) -> bool:
    function = text.function
    if function.name.startswith(("test", "pytest_")) or "fixture" in text.words:
        return False
    for decorator in function.decorator_list:
        named = ast.unparse(decorator).rpartition(".")[2]
        if named not in _TRANSPARENT and named not in ("setter", "deleter", "getter"):
            return False
    return not any(_calls_by_name(node, function.name) for node in ast.walk(function))


def _calls_by_name(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), keywords=[_, *_]):
            return called == name
        case _:
            return False


def _seen_elsewhere(text: FunctionText) -> set[str]:
    """The names that mean another thing somewhere: outside, in a class, or as a variable of a function inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
        top = symtable.symtable(text.text, "<code>", "exec")
    own = next(table for table in top.get_children() if table.get_name() == text.function.name)
    seen = {symbol.get_name() for table in _around(top, own) for symbol in table.get_symbols() if not symbol.is_free()}
    declared = {name for node in ast.walk(text.tree) for name in _declared(node)}
    inside = [node for node in text.nodes if node is not text.function]
    defined = {name for node in inside if not isinstance(node, ast.Name) for name in names_bound_by(node)}
    return seen | declared | defined


def _around(top: symtable.SymbolTable, own: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    waiting = [top]
    while waiting:
        table = waiting.pop()
        waiting.extend(table.get_children())
        if table is not own:
            yield table


def _declared(node: ast.AST) -> Sequence[str]:
    return node.names if isinstance(node, ast.Global | ast.Nonlocal) else ()

"""A function in other words by other names: its local variables are renamed, all else stays to the byte.

The places are found in the syntax tree, what a name stands for is read from the compiler's own symbol table, and every
result is gated by an independent proof of equivalence. The same text and seed give the same names.
"""

import builtins
import hashlib
import keyword
import re
import symtable
import warnings
from collections.abc import Iterator, Mapping, Sequence

from clmeeval_data import syntax
from clmeeval_data.paraphrase.engine import Setting
from clmeeval_data.paraphrase.equivalence import alpha_equivalent

# Functions that can see the names of local variables.
_INTROSPECTION = frozenset({"locals", "globals", "vars", "eval", "exec", "currentframe", "_getframe", "f_locals"})
_INTROSPECTION_CALLS = frozenset({"dir", "stack"})
_RESERVED = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist)
_VOCABULARY: Mapping[str, Sequence[str]] = {
    "assigned": (
        *("value", "result", "current", "outcome", "content", "target", "state", "data", "temp", "tmp", "ret", "res"),
        *("val", "obj", "out", "got", "cur", "part"),
    ),
    "loop": (
        *("item", "element", "entry", "member", "unit", "part", "elem", "it", "cur", "each", "one", "val", "token"),
        *("slot", "step"),
    ),
    "context": ("handle", "resource", "opened", "scope", "ctx", "held", "inner"),
    "caught": ("error", "exc", "err", "problem", "failure", "reason", "ex"),
}


class RenameEngine:
    """Renames all local variables of a function that can be renamed safely.

    Parameters, attributes, globals, imported names, names of nested definitions, names declared ``nonlocal`` and names
    with a leading underscore stay, and so does a name that a comment mentions. A function without any other local
    variable has no rewording, and neither has one that can look up its variables by name.
    """

    name = "rename"
    version = "1"
    model = ""

    def __init__(self, setting: Setting) -> None:
        self._seed = setting.seed

    def rewrite(self, prompts: Sequence[str]) -> list[str | None]:
        """Each function with its local variables renamed; None where that is impossible or could change its meaning."""
        return [self._rename(code) for code in prompts]

    def _rename(self, code: str) -> str | None:
        words = set(syntax.tokens(code))
        if words & _INTROSPECTION or {name.rpartition(".")[2] for name in syntax.calls(code)} & _INTROSPECTION_CALLS:
            return None
        mentioned = set(re.findall(r"\w+", " ".join(syntax.comments(code))))
        renamable = local_names(code) - mentioned
        places = [place for place in syntax.variables(code) if place.name in renamable]
        renamed = with_names(code, places, self._choose(code, places, words))
        if renamed == code or not syntax.parses(renamed) or not alpha_equivalent(code, renamed):
            return None
        return renamed

    def _choose(self, code: str, places: Sequence[syntax.Variable], words: set[str]) -> dict[str, str]:
        """A new name for each old one, that occurs nowhere in the code, not even as an attribute or in a comment."""
        taken = words | _RESERVED | set(re.findall(r"\w+", code))
        chosen: dict[str, str] = {}
        for place in places:
            if place.name not in chosen and place.role in _VOCABULARY:
                new = next(name for name in self._names(code, place) if name not in taken)
                chosen[place.name] = new
                taken.add(new)
        return chosen

    def _names(self, code: str, place: syntax.Variable) -> Iterator[str]:
        """The vocabulary in an order that depends on the seed, the code and the old name; then without end."""

        def order(name: str) -> bytes:
            return hashlib.sha256(
                f"{self._seed}\x1f{place.name}\x1f{name}\x1f{code}".encode("utf-8", "replace")
            ).digest()

        words = sorted(_VOCABULARY[place.role], key=order)
        yield from words
        number = 2
        while True:
            yield from (f"{word}_{number}" for word in words)
            number += 1


def local_names(code: str) -> set[str]:
    """The names that are local variables wherever they occur; empty where the code doesn't compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
        try:
            stack = [symtable.symtable(code, "<code>", "exec")]
        except (SyntaxError, ValueError, RecursionError):
            return set()
    local: set[str] = set()
    fixed: set[str] = set()
    while stack:
        table = stack.pop()
        stack.extend(table.get_children())
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if table.get_type() != "function" or name.startswith("_") or _is_fixed(symbol):
                fixed.add(name)  # of a module, a class or a type parameter: visible from outside
            elif symbol.is_local():
                local.add(name)
    return local - fixed


def _is_fixed(symbol: symtable.Symbol) -> bool:
    declared = symbol.is_nonlocal() or symbol.is_global()
    return declared or symbol.is_parameter() or symbol.is_imported() or symbol.is_namespace()


def with_names(code: str, places: Sequence[syntax.Variable], names: Mapping[str, str]) -> str:
    """The code with the names at these places replaced; all other bytes stay."""
    data = code.encode("utf-8", "replace")
    for place in reversed(places):
        data = data[: place.start] + names.get(place.name, place.name).encode() + data[place.end :]
    return data.decode("utf-8")

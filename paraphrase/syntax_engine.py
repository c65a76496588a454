"""A function in other words: the same meaning by other names, loops, conditions and strings, without a model."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from clmeeval_data import syntax
from clmeeval_data.errors import ConfigError
from clmeeval_data.paraphrase.engine import Setting
from clmeeval_data.paraphrase.equivalence import alpha_equivalent
from clmeeval_data.paraphrase.normal.form import normal_form
from clmeeval_data.paraphrase.rewrites import (
    comprehension,
    conditions,
    early_exit,
    formatting,
    inversion,
    literals,
    names,
    nesting,
    quotes,
    temporary,
    ternary,
    unpacking,
)
from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import FunctionText, Site, replaced


@dataclass(frozen=True)
class Kind:
    """A kind of rewriting: where it applies, and to how many places of one function at most."""

    find: Callable[[FunctionText, Choice], Iterable[Site]]
    most: int = 100


KINDS: Mapping[str, Kind] = {
    "comprehension": Kind(comprehension.find, 2),
    "conditions": Kind(conditions.find),
    "early exit": Kind(early_exit.find, 2),
    "formatting": Kind(formatting.find),
    "inversion": Kind(inversion.find, 2),
    "nesting": Kind(nesting.find, 2),
    "ternary": Kind(ternary.find, 2),
    "unpacking": Kind(unpacking.find, 2),
}
"""The kinds that change the structure."""

SLIGHT: Mapping[str, Kind] = {
    "temporary": Kind(temporary.find, 1),
    "literals": Kind(literals.find),
}
"""The kinds that change little, and are tried after all others."""

# What can see the names of local variables, the functions on the stack, or the text of the function itself.
_SELF_AWARE = frozenset(
    {"locals", "globals", "vars", "eval", "exec", "dir", "inspect", "stack", "sympify", "njit", "jit", "guvectorize"}
)
_SELF_AWARE_ATTRIBUTES = frozenset(
    {"currentframe", "_getframe", "f_locals", "f_back", "getsource", "__code__", "co_varnames", "njit", "jit"}
)
_NAMES = "names"
_UNNATURAL = 2  # the rank from which on a site is only taken where there is nothing else


@dataclass(frozen=True)
class Rewritten:
    """A function in other words, and the kinds of rewriting that it went through."""

    text: str
    kinds: tuple[str, ...]


class SyntaxEngine:
    """Rewrites one Python function by several kinds of rewriting at once; formatting and comments elsewhere stay.

    The text has to be exactly one function that the running interpreter can read. None where it isn't, where nothing
    applies, and where the function can look at its own names or code. Every step is gated by a proof that the function
    still does the same for all inputs: a renaming by ``alpha_equivalent``, any other by ``normal_form``. What is not
    preserved: traceback line numbers, names in the text of an UnboundLocalError, and, where parameters are renamed,
    calls that pass these by name; nor, for builtins such as ``len``, what happens if a module gives their name away.

    Args:
        setting: Holds the seed and the strength; quotes, which are layout, don't count as a kind.

    Raises:
        ConfigError: If the strength is below 1.
    """

    name = "syntax"
    version = "1"
    model = ""

    def __init__(self, setting: Setting) -> None:
        if setting.strength < 1:
            raise ConfigError(
                f"a strength of {setting.strength} rewrites nothing: give the number of kinds, 1 or more."
            )
        self._seed = setting.seed
        self._strength = setting.strength

    def rewrite(self, prompts: Sequence[str]) -> list[str | None]:
        """Each function in other words; None where there is no way, or none that is certain to mean the same."""
        rewritten = (self.rewritten(code) for code in prompts)
        return [None if result is None else result.text for result in rewritten]

    def rewritten(self, code: str) -> Rewritten | None:
        """One function in other words, with the kinds of rewriting that were used."""
        try:
            text = FunctionText.parse(code)
            if text is None or _is_self_aware(text):
                return None
            result = self._combined(text)
            return result if result is not None and _is_sound(text, result.text) else None
        except (RecursionError, MemoryError):  # nested too deeply
            return None

    def _combined(self, text: FunctionText) -> Rewritten | None:
        choice = Choice(self._seed, text.text)
        for rank in (_UNNATURAL - 1, _UNNATURAL):
            current, used, tried = text, list[str](), set[str]()
            for name, most in self._order(choice, rank):
                if len(used) >= most or name in tried:
                    continue
                tried.add(name)
                changed = _with(name, current, text, choice, rank)
                if changed is not None:
                    used += [name] if ast.dump(changed.tree) != ast.dump(current.tree) else []  # else it was layout
                    current = changed
            if used:
                return Rewritten(_requoted(current, choice).text, tuple(used))
        return None

    def _order(self, choice: Choice, rank: int) -> list[tuple[str, int]]:
        """The kinds in the order in which they are tried, each with the number of kinds at which it isn't any more.

        Names come after structures, so that lines are aligned to what they were aligned to, and keep a place free.
        """
        structures, slight = choice.order("kinds", list(KINDS)), choice.order("kinds", list(SLIGHT))
        most = self._strength
        if rank == _UNNATURAL:
            return [(name, 1) for name in (*structures, *slight, _NAMES)]
        if most == 1:
            return [(name, 1) for name in (*choice.order("kinds", [_NAMES, *KINDS]), *slight)]
        return [*((name, most - 1) for name in structures), *((name, most) for name in (_NAMES, *structures, *slight))]


def _with(name: str, current: FunctionText, original: FunctionText, choice: Choice, rank: int) -> FunctionText | None:
    """The function rewritten by one more kind; None where that doesn't apply."""
    kind = {**KINDS, **SLIGHT}.get(name)
    if kind is not None:
        return _changed(current, choice, kind, rank)
    return _renamed(current, choice, original.words, rank == _UNNATURAL)


def _is_self_aware(text: FunctionText) -> bool:
    """Whether the function can see more of itself than what it does; in doubt it can."""
    for node in ast.walk(text.tree):
        match node:
            case ast.Name(id=name) if name in _SELF_AWARE | _SELF_AWARE_ATTRIBUTES and text.is_builtin(name):
                return True
            case ast.Attribute(attr=name) if name in _SELF_AWARE_ATTRIBUTES:
                return True
            case ast.alias(name=name) if not (_SELF_AWARE | _SELF_AWARE_ATTRIBUTES).isdisjoint(name.split(".")):
                return True
    return False


def _renamed(text: FunctionText, choice: Choice, known: AbstractSet[str], at_any_rate: bool) -> FunctionText | None:
    result = names.renamed(text, choice, known, at_any_rate)
    if result is None or not alpha_equivalent(text.text, result, parameters=True):
        return None
    return FunctionText.parse(result)


def _changed(text: FunctionText, choice: Choice, kind: Kind, rank: int) -> FunctionText | None:
    """The function with the most natural places of one kind rewritten, as many as the proof accepts."""
    sites = [site for site in kind.find(text, choice) if site.rank <= rank]
    if not sites:
        return None
    chosen = list(_apart(sorted(choice.order("sites", sites, _key), key=lambda site: site.rank)))[: kind.most]
    for group in [chosen, *([site] for site in chosen if len(chosen) > 1)]:
        result = replaced(text.text, [part for site in group for part in site.replacements])
        if group and result != text.text and _is_proven(text.text, result):
            return FunctionText.parse(result)
    return None


def _key(site: Site) -> str:
    return f"{site.start} {site.end}"


def _apart(sites: Iterable[Site]) -> Iterator[Site]:
    """The sites that don't overlap an earlier one."""
    taken: list[tuple[int, int]] = []
    for site in sites:
        if all(site.end <= start or end <= site.start for start, end in taken):
            taken.append((site.start, site.end))
            yield site


def _is_proven(before: str, after: str) -> bool:
    form = normal_form(before)
    return form is not None and form == normal_form(after)


def _requoted(text: FunctionText, choice: Choice) -> FunctionText:
    """The function with other quotes, in one of three cases; where that changes more than quotes, as it is."""
    if not choice.one_in(3, "quotes"):
        return text
    parts = [part for site in quotes.find(text, choice) for part in site.replacements]
    result = FunctionText.parse(replaced(text.text, parts))
    return result if result is not None and ast.dump(result.tree) == ast.dump(text.tree) else text


def _is_sound(before: FunctionText, after: str) -> bool:
    """Whether the text parses, takes as many arguments as before, and differs in more than layout."""
    result = FunctionText.parse(after)
    if result is None or not syntax.parses(after) or ast.dump(result.tree) == ast.dump(before.tree):
        return False
    return arity(result.function.args) == arity(before.function.args)


def arity(arguments: ast.arguments) -> tuple[int, int, int, int, int, bool, bool]:
    """How many arguments a signature takes, of each kind, and for how many there is a default."""
    given = sum(default is not None for default in arguments.kw_defaults)
    counts = (
        len(arguments.posonlyargs),
        len(arguments.args),
        len(arguments.kwonlyargs),
        len(arguments.defaults),
        given,
    )
    return (*counts, arguments.vararg is not None, arguments.kwarg is not None)

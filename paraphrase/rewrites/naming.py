"""Names for variables that a rewriting introduces."""

import builtins
import keyword
import re
from collections.abc import Sequence
from itertools import chain, count

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import FunctionText

RESERVED = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist)
_ANY = ("result", "output", "value")
# Verbs of functions that are named for what they return.
_GETTERS = "get|load|create|make|build|find|compute|calculate|fetch|parse|read|open|new|list|select|query|generate"


# Verbs whose participle names what they return.
_DONE = {
    **{f"{stem}e": f"{stem}ed" for stem in ("pars", "resolv", "normaliz", "serializ", "encod", "decod", "compil")},
    **{f"{stem}e": f"{stem}ed" for stem in ("generat", "merg", "replac", "reshap", "transpos", "updat", "comput")},
    **{
        verb: f"{verb}ed"
        for verb in ("convert", "load", "fetch", "extract", "select", "filter", "transform", "collect")
    },
    **{"copy": "copied", "deepcopy": "copied", "strip": "stripped", "split": "parts"},
}


def named_after(called: str) -> Sequence[str]:
    """Names for what a call returns.

    ``quantum_register`` and ``register`` for ``QuantumRegister``, ``items`` for ``get_items``, ``parsed`` for
    ``parse``; none for other calls.
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]+", called)
    if words and "".join(words) == called and not called.isupper():
        return ["_".join(words).lower(), *([words[-1].lower()] if len(words) > 1 else [])]
    found = re.fullmatch(rf"_*(?:{_GETTERS})_+(\w+)", called)
    return [found.group(1)] if found else [_DONE[called]] if called in _DONE else []


def fresh_name(text: FunctionText, choice: Choice, candidates: Sequence[str]) -> str:
    """The first candidate, in an order that the seed decides, that occurs nowhere in the text."""
    wanted = choice.order("fresh", candidates) + choice.order("fresh", _ANY)
    numbered = (f"{name}_{number}" for number in count(2) for name in _ANY)
    taken = text.words | RESERVED
    return next(name for name in chain(wanted, numbered) if name not in taken and name.isidentifier())

"""Snippets of Python 2, and snippets that lost their margin, in the notation of Python 3.

Only what has an exact counterpart is rewritten, and only in snippets that don't parse as they stand.
"""

import re
from textwrap import dedent

from clmeeval_data import syntax

_PRINT = re.compile(
    r"^([ \t]*(?:(?:if|elif|else|for|while|try|except|finally|with|def)\b.*:[ \t]*)?)"
    r"print(?:[ \t]+(?![(=,])|(?=[\"']))(?!>>)(.+?)(,?)[ \t]*;?[ \t]*$",
    re.MULTILINE,
)
_EMPTY_PRINT = re.compile(r"^([ \t]*)print[ \t]*$", re.MULTILINE)
_CAUGHT = re.compile(r"\bexcept[ \t]+([\w.]+|\([^()]*\))[ \t]*,[ \t]*([A-Za-z_]\w*)[ \t]*:")


def in_python_3(snippet: str) -> str:
    """The snippet with ``print`` as a call and ``as`` in its ``except`` clauses, at the left margin.

    A snippet that parses is left as it is, and so is one that doesn't parse afterwards either.
    """
    if syntax.parses(snippet):
        return snippet
    rewritten = _rewritten(snippet)
    attempts = (rewritten, _at_margin(snippet), _at_margin(rewritten))
    return next((attempt for attempt in attempts if syntax.parses(attempt)), snippet)


def _rewritten(code: str) -> str:
    code = _EMPTY_PRINT.sub(r"\1print()", code)
    code = _PRINT.sub(_call, code)
    return _CAUGHT.sub(r"except \1 as \2:", code)


def _call(found: re.Match[str]) -> str:
    end = ", end=' '" if found[3] else ""
    return f"{found[1]}print({found[2]}{end})"


def _at_margin(code: str) -> str:
    """The code at the left margin, also where only the lines after the first one kept their indentation."""
    first, _, rest = code.partition("\n")
    return dedent(code).strip("\n") if first[:1].isspace() else f"{first}\n{dedent(rest)}".rstrip("\n")

"""Functions as prompts: without what describes them."""

import re

from clmeeval_data import syntax

_STRING_FIRST = re.compile(r":[ \t]*(?:#[^\n]*)?\n(?:\s*#[^\n]*\n)*\s*[rRuU]{0,2}['\"]")
_MOST_STRINGS = 5


def undocumented(code: str) -> str:
    """The code without its docstrings, and without the empty lines that these leave behind.

    A string that stands after a docstring would be the docstring then, so it goes too.
    """
    for _ in range(_MOST_STRINGS):
        bare = syntax.strip_docstrings(code)
        if bare == code:
            break
        code = re.sub(r"(?<=:\n)(?:[ \t]*\n)+", "", bare)
        if not _STRING_FIRST.search(code):
            break
    return code.strip()


def function_name(code: str) -> str:
    """The name of the first function in a code, "" where there is none."""
    return next((function.name for function in syntax.functions(code)), "")

"""The other quotes around strings, where nothing inside has to change. Layout only: the tree stays the same."""

import re
import tokenize
from collections.abc import Iterator

from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import FunctionText, Replacement, Site

_PLAIN = re.compile(r"""[bBrRuU]{0,2}(?:'[^'"\\\n]*'|"[^'"\\\n]*")""")


def find(text: FunctionText, _choice: Choice) -> Iterator[Site]:
    """One site with all strings of the function that hold neither kind of quote and no backslash."""
    parts = []
    for token in text.tokens:
        if token.kind == tokenize.STRING and _PLAIN.fullmatch(token.text):
            old = token.text[-1]
            new = '"' if old == "'" else "'"
            parts.append(Replacement(token.start, token.end, token.text.replace(old, new)))
    if parts:
        yield Site(tuple(parts))

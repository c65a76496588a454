"""Interactive sessions as code."""

import re
import textwrap

_PROMPT = re.compile(r">>> ?|(?:\.\.\.|In ?\[\d+\]:|\s*\.{3}:)(?: |$)")


def typed(snippet: str) -> str:
    """What was typed, where a snippet is an interactive session of Python or IPython; other snippets as they are."""
    lines = textwrap.dedent(snippet).strip().splitlines()
    if not lines or lines[0].startswith("...") or not _PROMPT.match(lines[0]):
        return snippet
    return "\n".join(line[found.end() :] for line in lines if (found := _PROMPT.match(line))).strip()

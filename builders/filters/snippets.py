"""Filters of snippets: Python that does something, whole, and without what an interpreter printed around it."""

import re

from clmeeval_data import syntax
from clmeeval_data.builders.filters.lexical import is_title, shared_words
from clmeeval_data.builders.sources import Pair

_STRING = re.compile(r"\"{3}.*?\"{3}|'{3}.*?'{3}|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_PROMPT = re.compile(r"^[ \t]*(?:>>>|(?:In|Out) ?\[\d*\])|^\.\.\. ", re.MULTILINE)
_TRACEBACK = re.compile(r'^[ \t]*(?:Traceback \(|File "[^"]*", line \d|\w+(?:Error|Exception):)', re.MULTILINE)
_SHELL = re.compile(
    r"^[ \t]*[$%][ \t]+\w|^[A-Za-z]:\\|"
    r"^[ \t]*(?:sudo|pip\d?|easy_install|apt-get|yum|brew|conda|git|cd|ls|mkdir|export|source|virtualenv|workon|curl|"
    r"wget|chmod|echo|set|make|python[\d.]*) +[-\w./~]+|"
    r"(?:^|\s)--?[a-z]\w*(?:-\w+)+|(?:^|\s)--[a-z]\w+|^[\w.]+(?:-[a-z]\w*)+$",  # options, names of packages
    re.MULTILINE,
)
_CONFIGURATION = re.compile(r"\A\[[\w .:-]+\][ \t]*\n[ \t]*[\w.-]+ ?[=:]")
_TEMPLATE = re.compile(r"\{\{|\{%|%\}|</?\w+>[ \t]*$", re.MULTILINE)
_OTHER_LANGUAGE = re.compile(
    r";[ \t]*(?:#.*)?$|\$\w+|&&|\|\||\bnew [A-Z]\w*\(|\b(?:console\.log|System\.out|document\.\w+)\b|"
    r"\bPy[A-Z]\w+_\w+\(",
    re.MULTILINE,
)
_FOREIGN = (
    (_SHELL, "a command of a shell"),
    (_TEMPLATE, "a template"),
    (_CONFIGURATION, "a configuration file"),
    (_OTHER_LANGUAGE, "another language"),
)
_FILE = re.compile(
    r"[\w./-]+\.(?:py|pyc|pyd|pth|txt|exe|dll|so|cfg|ini|conf|json|xml|html?|css|js|csv|log|dat|zip|db|sh|bat|egg|whl|ya?ml|md|"
    r"rst|wsgi|png|jpg|com|org|net|io)|[\w.-]*[a-z]{3}[\w.-]*(?:/[\w.-]+)+/?"
)
# Of a normalised statement, with all strings empty.
_NAME = re.compile(r"\w+(?: \. \w+)*")
_LITERAL = re.compile(r"(?!.*(?:''|[\])]) \[)(?:[bBfFrRuU]{0,2}''|\d[\w.]*|True|False|None|[()\[\]{},:-]| )+")
_IMPORT = re.compile(r"(?:import|from) .*")
_EMPTY = re.compile(r"pass|continue|break|return|\.\.\.")
_MENTION = re.compile(
    r"(?!(?:breakpoint|bytearray|bytes|dict|dir|exit|frozenset|globals|help|input|list|locals|object|quit|set|super|tuple|"
    r"vars) )\w+ \( \)"
)
_KINDS = (
    (_EMPTY, "an empty statement"),
    (_LITERAL, "a literal"),
    (_NAME, "a name"),
    (_IMPORT, "an import"),
    (_MENTION, "a mere mention of a function"),
)
# Comments: "# ...", "# do something", "# your code here"; "# -> 3", "# prints [1, 2]", "# ['a']".
_LEFT_OUT = re.compile(
    r"#\s*(?:\.\.\.|…|untested|.*\b(?:code|stuff) (?:goes )?here\b|"
    r"(?:do|your|some|more|other|rest|etc|insert|put|add|process|handle|whatever|stuff|my|blah|todo)\b"
    r"(?:.*\b(?:here|stuff|something|code|things?|else|etc|etcetera)\b|\s*$))|.*\bblah\b",
    re.IGNORECASE,
)
_PRINTED = re.compile(
    r"#\s*(?:-+>|=+>|→|>>>|prints?:?\s|printed|outputs?\b|out:|results?\b|resulting\b|gives\b|['\"\[({]|"
    r"returns?:?\s+['\"\[({\d]|(?:\d[\d.]*|true|false|none)\s*$)",
    re.IGNORECASE,
)


def foreign_code(pair: Pair) -> str | None:
    """The snippet is Python as it stands in a file."""
    if _PROMPT.search(pair.target):
        return "an interpreter's prompt"
    if _TRACEBACK.search(pair.target):
        return "a traceback"
    code = _STRING.sub("''", pair.target)
    return next((reason for pattern, reason in _FOREIGN if pattern.search(code)), None)


def idle(pair: Pair) -> str | None:
    """The snippet does something, or is a dotted name: more than a name, literals or imports, and no mere mention."""
    if _FILE.fullmatch(pair.target.strip()):
        return "the name of a file"
    statements = _statements(pair.target)
    kinds = {_kind(statement) for statement in statements}
    dotted = kinds == {"a name"} and len(statements) == 1 and "." in statements[0]
    if dotted or None in kinds:
        return None
    return f"{kinds.pop()} alone" if len(kinds) == 1 else "names, literals and imports alone"


def incomplete(pair: Pair) -> str | None:
    """Nothing of the snippet is left out, and no output stands in it."""
    comments = syntax.comments(pair.target)
    if any(map(_LEFT_OUT.match, comments)) or _elides(pair.target):
        return "something is left out"
    pasted = any(_LITERAL.fullmatch(statement) for statement in _statements(pair.target)[1:])
    return "output in the code" if pasted or any(map(_PRINTED.match, comments)) else None


def unrelated_name(pair: Pair, least: int) -> str | None:
    """A snippet that is but a dotted name shares more content words with its intent; see ``lexical.is_title``."""
    if not is_title(pair) or not re.fullmatch(r"[\w.]+", pair.target.strip()):
        return None
    shared = shared_words(pair.prompt, pair.target)
    return None if len(shared) >= least else "a dotted name that the intent doesn't describe"


def _statements(code: str) -> list[str]:
    """The lines of the normalised form, with all strings empty."""
    lines = (_STRING.sub("''", line) for line in syntax.normalised(code).split("\n"))
    return [line for line in lines if line not in ("{", "}")]


def _kind(statement: str) -> str | None:
    """What a statement is if it does nothing worth asking for; None where it does."""
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(statement)), None)


def _elides(code: str) -> bool:
    """Whether an ellipsis stands for something left out: anywhere but in a subscript."""
    brackets: list[bool] = []
    before = ""
    for token in syntax.tokens(code):
        if token in ("(", "[", "{"):
            brackets.append(token == "[" and (before[-1:].isidentifier() or before in (")", "]")))
        elif token in (")", "]", "}") and brackets:
            brackets.pop()
        elif token == "..." and not (brackets and brackets[-1]):
            return True
        before = token
    return False

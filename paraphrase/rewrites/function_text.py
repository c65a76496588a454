"""One Python function as text and tree at once, so that a part found in the tree can be changed in the text.

All offsets are in bytes, as those of ``ast`` are; lines count from 1. Whatever a rewriting doesn't replace stays to the
byte: formatting, comments, quotes.
"""

import ast
import io
import re
import tokenize
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from clmeeval_data.paraphrase.rewrites.scope import FunctionNode, Scope, names_bound_by

LONGEST = 100_000
"""Characters; longer texts are not rewritten, since a tree takes two hundred times the memory of its text."""

WIDTH = 100
"""Characters; no rewriting makes a new line that is longer."""

_TWICE = 8
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Replacement:
    """The bytes from ``start`` to ``end`` give way to ``text``."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Site:
    """One place where a rewriting applies: replacements that belong together, none overlapping another.

    ``rank`` tells how natural the result is, 0 being as natural as the original; the lowest are taken first.
    """

    replacements: tuple[Replacement, ...]
    rank: int = 0

    @property
    def start(self) -> int:
        """Where the first replacement starts."""
        return min(part.start for part in self.replacements)

    @property
    def end(self) -> int:
        """Where the last replacement ends."""
        return max(part.end for part in self.replacements)


@dataclass(frozen=True)
class Block:
    """The lines of a suite that has lines of its own, with its comments: first and last line, and its margin."""

    first: int
    last: int
    margin: str


@dataclass(frozen=True)
class Suite:
    """A list of statements, and the node and field that hold it."""

    statements: Sequence[ast.stmt]
    holder: ast.AST
    field: str


@dataclass(frozen=True)
class Token:
    """A token of the text: its kind as in the module ``token``, its text, its place."""

    kind: int
    text: str
    start: int
    end: int


class FunctionText:
    """The text of one function, its syntax tree, and the way from one to the other."""

    def __init__(self, text: str, tree: ast.Module, tokens: Sequence[Token]) -> None:
        self.text = text
        self.tree = tree
        self.tokens = tokens
        self.data = text.encode("utf-8")
        node = tree.body[0]
        if not isinstance(node, FunctionNode):
            raise ValueError(f"expected one function definition, got {type(node).__name__}")
        self.function: FunctionNode = node
        self._scopes: dict[FunctionNode, Scope] = {}

    @classmethod
    def parse(cls, text: str) -> "FunctionText | None":
        """The function, or None where the text isn't exactly one, or not one that the running interpreter can read.

        Texts with form feeds, carriage returns, a byte order mark or lone surrogates are left out as well, and so are
        those longer than ``LONGEST``.
        """
        if len(text) > LONGEST or any(sign in text for sign in "\f\r\ufeff"):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the code itself, such as an invalid escape
            try:
                tree = ast.parse(text)
                compile(tree, "<code>", "exec", dont_inherit=True)
                tokens = list(_tokens(text))
            except (*_UNREADABLE, tokenize.TokenError):
                return None
        if len(tree.body) != 1 or not isinstance(tree.body[0], FunctionNode):
            return None
        return cls(text, tree, tokens)

    def start(self, node: ast.expr | ast.stmt) -> int:
        """Where the node starts; of a decorated definition, where its keyword does."""
        start: int = self._line_starts[node.lineno - 1] + node.col_offset
        return start

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Where the node ends."""
        if node.end_lineno is None or node.end_col_offset is None:
            raise ValueError("a node without positions doesn't come from a text")
        return self._line_starts[node.end_lineno - 1] + node.end_col_offset

    def segment(self, node: ast.expr | ast.stmt) -> str:
        """The text of the node, without parentheses around it."""
        return self.between(self.start(node), self.end(node))

    def between(self, start: int, end: int) -> str:
        """The text between two offsets."""
        return self.data[start:end].decode("utf-8")

    def line_of(self, offset: int) -> int:
        """The number of the line that holds this offset."""
        return bisect_right(self._line_starts, offset)

    def line_start(self, line: int) -> int:
        """Where a line starts."""
        return self._line_starts[line - 1]

    def line_end(self, line: int) -> int:
        """Where a line ends, without its newline."""
        return self._line_starts[line] - 1 if line < len(self._line_starts) else len(self.data)

    def line_text(self, line: int) -> str:
        """A line, without its newline."""
        return self.between(self.line_start(line), self.line_end(line))

    def margin(self, line: int) -> str:
        """The white space at the start of a line."""
        return re.match(r"[ \t]*", self.line_text(line)).group()  # type: ignore[union-attr]  # matches everything

    @cached_property
    def step(self) -> str:
        """By how much a suite is indented against its header.

        The body of the function itself doesn't count beside others, nor if it stands twice as far in: it may come from
        a class.
        """
        own = self._first_block(self.function)
        blocks = (self._first_block(node) for node in self.nodes if node is not self.function)
        margins = [block.margin for block in blocks if block is not None and block.margin]
        outer = own.margin if own is not None and own.margin and len(own.margin) < _TWICE else " " * (_TWICE // 2)
        return min(margins, key=len, default=outer)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The parent of each node."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def function_of(self, node: ast.AST) -> FunctionNode | None:
        """The innermost function around a node; None where a class or a lambda is nearer."""
        for around in self.ancestors(node):
            if isinstance(around, FunctionNode):
                return around
            if isinstance(around, ast.ClassDef | ast.Lambda):
                return None
        return None

    def scope_of(self, node: ast.AST) -> Scope | None:
        """The names of the innermost function around a node; None where a class or a lambda is nearer."""
        function = self.function_of(node)
        if function is not None and function not in self._scopes:
            self._scopes[function] = Scope(function)
        return None if function is None else self._scopes[function]

    def is_builtin(self, name: str) -> bool:
        """Whether nothing in the text gives this name another meaning than the language does."""
        return name not in self._bound

    @cached_property
    def nodes(self) -> Sequence[ast.AST]:
        """All nodes of the function, outer ones first, itself included."""
        return tuple(ast.walk(self.function))

    @cached_property
    def suites(self) -> Sequence[Suite]:
        """All lists of statements inside the function, outer ones first."""
        found = []
        for node in self.nodes:
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(node, field, None)
                if isinstance(statements, list) and statements:
                    found.append(Suite(statements, node, field))
        return found

    @cached_property
    def in_f_strings(self) -> frozenset[ast.AST]:
        """The nodes inside f-strings, whose positions are not to be trusted."""
        strings = (node for node in self.nodes if isinstance(node, ast.JoinedStr))
        return frozenset(part for node in strings for part in ast.walk(node) if part is not node)

    def first_line(self, statement: ast.stmt) -> int:
        """The first line of a statement, decorators included."""
        decorators = getattr(statement, "decorator_list", [])
        first: int = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
        return first

    def last_line(self, statement: ast.stmt) -> int:
        """The last line of a statement."""
        return self.line_of(self.end(statement) - 1)

    def has_own_lines(self, statements: Sequence[ast.stmt]) -> bool:
        """Whether nothing else stands on the lines of these adjacent statements, but for a comment at the end."""
        first = self.first_line(statements[0])
        before = self.between(self.line_start(first), self.start(statements[0]))
        if first == statements[0].lineno and before.strip():
            return False
        last = statements[-1]
        after = self.between(self.end(last), self.line_end(self.last_line(last))).strip()
        return not after or after.startswith("#")

    def header_end(self, after: int) -> int:
        """The offset behind the colon that ends a header, the first one after an offset."""
        return next(token.end for token in self.tokens_from(after) if token.text == ":")

    def block(self, statements: Sequence[ast.stmt], header_end: int) -> Block | None:
        """The lines of a suite, or None where it hasn't lines of its own or a comment stands behind its header."""
        header_line = self.line_of(header_end - 1)
        if self.first_line(statements[0]) <= header_line or not self.has_own_lines(statements):
            return None
        if self.between(header_end, self.line_end(header_line)).strip():
            return None
        margin = self.margin(self.first_line(statements[0]))
        last = following = self.last_line(statements[-1])
        while following < len(self._line_starts):
            following += 1
            line = self.line_text(following)
            if line.strip() and not (line.startswith(margin) and line.lstrip().startswith("#")):
                break
            last = following if line.strip() else last
        return Block(header_line + 1, last, margin)

    def moved(self, first: int, last: int, margin: str, new_margin: str) -> str:
        """Lines with another margin; what stands inside a string, and lines that don't have the margin, stay."""
        lines = []
        for line in range(first, last + 1):
            text = self.line_text(line)
            moves = text.strip() and line not in self._string_lines and text.startswith(margin)
            lines.append(new_margin + text[len(margin) :] if moves else text)
        return "\n".join(lines)

    def reflowed(self, start: int, end: int, column: int) -> str:
        """The text between two offsets for another column; lines that are aligned with its inside move along."""
        first, last = self.line_of(start), self.line_of(end - 1)
        shift = column - (start - self.line_start(first))
        lines = [self.between(start, min(end, self.line_end(first)))]
        is_aligned = not lines[0].rstrip().endswith(("(", "[", "{"))
        for line in range(first + 1, last + 1):
            text = self.between(self.line_start(line), min(end, self.line_end(line)))
            room = len(text) - len(text.lstrip(" "))
            if is_aligned and line not in self._string_lines and room + shift >= 0 and text.strip():
                text = " " * (room + shift) + text.lstrip(" ")
            lines.append(text)
        return "\n".join(lines)

    def has_comment(self, start: int, end: int) -> bool:
        """Whether a comment stands between two offsets."""
        place = bisect_left(self._comments, start)
        return place < len(self._comments) and self._comments[place] < end

    def tokens_from(self, offset: int) -> Iterator[Token]:
        """The tokens that start at an offset or behind it."""
        yield from islice(self.tokens, bisect_left(self.tokens, offset, key=lambda token: token.start), None)

    def is_elif(self, node: ast.AST) -> bool:
        """Whether the node is an ``elif`` of another ``if``."""
        return isinstance(node, ast.If) and self.data.startswith(b"elif", self.start(node))

    def else_token(self, node: ast.If) -> Token | None:
        """The ``else`` of an ``if``; None where it has none, or goes on with ``elif``."""
        if not node.orelse or self.is_elif(node.orelse[0]):
            return None
        return next(token for token in self.tokens_from(self.end(node.body[-1])) if token.text == "else")

    @cached_property
    def words(self) -> frozenset[str]:
        """Everything in the text that looks like a name, in strings and comments too."""
        return frozenset(re.findall(r"\w+", self.text))

    @cached_property
    def variables(self) -> frozenset[str]:
        """All names that stand for a variable anywhere in the text, and those of keyword arguments."""
        named = {node.id for node in self.nodes if isinstance(node, ast.Name)}
        keywords = {node.arg for node in self.nodes if isinstance(node, ast.keyword) and node.arg is not None}
        return frozenset(self._bound | named | keywords)

    @cached_property
    def _bound(self) -> frozenset[str]:
        nodes = list(ast.walk(self.tree))
        arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
        return frozenset(arguments.union(*map(names_bound_by, nodes)))

    @cached_property
    def _comments(self) -> list[int]:
        return [token.start for token in self.tokens if token.kind == tokenize.COMMENT]

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer(rb"\n", self.data))]

    @cached_property
    def _string_lines(self) -> frozenset[int]:
        """The lines that start inside a string."""
        inside: set[int] = set()
        opened: list[Token] = []
        for token in self.tokens:
            name = tokenize.tok_name[token.kind]
            if name == "FSTRING_START":  # from Python 3.12 on, an f-string is many tokens
                opened.append(token)
            elif name in ("STRING", "FSTRING_END"):
                start = opened.pop() if name == "FSTRING_END" and opened else token
                inside.update(range(self.line_of(start.start) + 1, self.line_of(token.end - 1) + 1))
        return frozenset(inside)

    def _first_block(self, node: ast.AST) -> Block | None:
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(node, ast.stmt):
            return None
        line, outer = self.first_line(body[0]), self.margin(node.lineno)
        margin = self.margin(line)
        return Block(line, line, margin.removeprefix(outer)) if line > node.lineno else None


def replaced(text: str, replacements: Sequence[Replacement]) -> str:
    """The text with all replacements made.

    Raises:
        ValueError: If two of them overlap.
    """
    data = text.encode("utf-8")
    pieces: list[bytes] = []
    done = 0
    for part in sorted(replacements, key=lambda part: (part.start, part.end)):
        if part.start < done:
            raise ValueError(f"two replacements overlap at byte {part.start}")
        pieces += [data[done : part.start], part.text.encode("utf-8")]
        done = part.end
    return b"".join([*pieces, data[done:]]).decode("utf-8")


def _tokens(text: str) -> Iterator[Token]:
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode("utf-8")) + 1)

    def offset(place: tuple[int, int]) -> int:
        row, column = place
        line = lines[row - 1] if row <= len(lines) else ""
        return starts[row - 1] + (column if line.isascii() else len(line[:column].encode("utf-8")))

    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        yield Token(token.type, token.string, offset(token.start), offset(token.end))

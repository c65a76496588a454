"""Words and phrases that give way to others of the same meaning."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clmeeval_data.paraphrase.rules.choice import Choices
from clmeeval_data.paraphrase.rules.spans import MASKED, SPAN

_SHARE = 65  # of the places where a phrase could be replaced, in percent
_HEAD_SHARE = 80  # the same for the verb that opens a request
_MOST = 5  # replaced phrases in a text
_NO_OBJECT = (
    r"(?:up|out|off|down|back|away|over|around|through|into|onto|to|on|in|at|for|from|with|by|of|as|and|or|between)\b"
    rf"|(?!{MASKED})\W"
)
_VOWEL = re.compile(r"(?!uni[^mn]|uni$|use|usu|ut[ei]|eu|one\b|once\b)[aeiou]|hour|honest|heir", re.IGNORECASE)
_QUOTED_NAME = re.compile(r"[`'\"](\w+)[`'\"=]")
_ARTICLE = re.compile(r"\b([Aa])n?( )$")


@dataclass(frozen=True)
class Context:
    """Where a phrase may be replaced; each pattern is None where it doesn't matter.

    Args:
        unless: Found nowhere in the text as it was written.
        not_after: Doesn't end what is before the phrase.
        only_after: Ends what is before the phrase.
        not_before: Doesn't begin what is after the phrase.
        only_before: Begins what is after the phrase.
        unless_later: Found nowhere after the phrase.
    """

    unless: re.Pattern[str] | None
    not_after: re.Pattern[str] | None
    only_after: re.Pattern[str] | None
    not_before: re.Pattern[str] | None
    only_before: re.Pattern[str] | None
    unless_later: re.Pattern[str] | None

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Context":
        """The context that an entry of the lexicon names by regular expressions."""
        forms = {
            "unless": r"\b(?:%s)\b",
            "not_after": r"(?:^|(?<![\w-]))(?:%s)\s*$",
            "only_after": r"(?:^|(?<![\w-]))(?:%s)\s*$",
            "not_before": r"\s*(?:%s)(?![\w-])",
            "only_before": r"\s*(?:%s)(?![\w-])",
            "unless_later": r"(?<![\w-])(?:%s)(?![\w-])",
        }
        return cls(**{key: _compiled(form % table[key]) if key in table else None for key, form in forms.items()})

    def allows(self, text: str, start: int, end: int, written: str) -> bool:
        """Whether the phrase between these places of a masked text may be replaced."""
        before, after = text[:start], text[end:]
        return not (
            (self.unless and self.unless.search(written))
            or (self.not_after and self.not_after.search(before))
            or (self.only_after and not self.only_after.search(before))
            or (self.not_before and self.not_before.match(after))
            or (self.only_before and not self.only_before.match(after))
            or (self.unless_later and self.unless_later.search(after))
        )


@dataclass(frozen=True)
class Entry:
    """Phrases that may be replaced.

    Args:
        pattern: Finds them in a masked text.
        options: What may take the place of each, by the phrase in lower case.
        is_symmetric: Whether each of the phrases may stand for each other one.
        context: Where they may be replaced.
        family: The name that entries have in common whose phrases are replaced together or not at all.
    """

    pattern: re.Pattern[str]
    family: str
    options: Mapping[str, tuple[str, ...]]
    is_symmetric: bool
    context: Context


@dataclass(frozen=True)
class Head:
    """A verb that opens a request, and what may take its place.

    Args:
        verb: In its base form, with the words that belong to it ("get rid of").
        into: Other verbs in their base form.
        needs: Matches the start of what follows the verb.
        unless: Doesn't match the start of what follows the verb.
        swap: A preposition that goes with the verb, as a pattern, and the one that goes with the others; ("", "") where
            none has to change.
    """

    verb: str
    into: tuple[str, ...]
    needs: re.Pattern[str]
    unless: re.Pattern[str]
    swap: tuple[str, str]


class Lexicon:
    """What may be said in other words.

    Args:
        words: The table of ``words.toml``.
        heads: The table of ``heads.toml``.
    """

    def __init__(self, words: Mapping[str, Any], heads: Mapping[str, Any]) -> None:
        self._entries = [_symmetric(table) for table in words["same"]] + [_directed(table) for table in words["turn"]]
        self._by_word: dict[str, list[int]] = {}
        for index, entry in enumerate(self._entries):
            for first in sorted({re.findall(r"[a-z']+", phrase)[0] for phrase in entry.options}):
                self._by_word.setdefault(first, []).append(index)
        self._heads: dict[str, list[Head]] = {}
        for table in heads["head"]:
            for verb in table["verb"].split("|"):
                self._heads.setdefault(verb.split()[0], []).append(_head(verb, table))

    @property
    def vocabulary(self) -> frozenset[str]:
        """All words of the phrases that may be replaced, in lower case."""
        return frozenset(word for entry in self._entries for phrase in entry.options for word in phrase.split())

    def reword(self, text: str, written: str, choices: Choices, titled: bool, is_eager: bool) -> str:
        """A masked text with some of its phrases replaced, and the articles before them put right.

        Args:
            text: The masked text.
            written: The text before it was masked.
            choices: Decide which phrases are replaced and by what.
            titled: Whether The Words Are Capitalised.
            is_eager: Whether to replace all that can be replaced.
        """
        share, most = (100, 2 * _MOST) if is_eager else (_SHARE, _MOST)
        parts: list[str] = []
        end = changed = 0
        for match, entry in sorted(self._places(text, written), key=lambda place: (place[0].start(), -place[0].end())):
            if match.start() < end or changed == most or not choices.chance(f"change {entry.family}", share):
                continue
            new = choices.pick(f"phrase {entry.family}", entry.options[_folded(match[0])])
            parts += [_with_article(text[end : match.start()], new), _cased(new, match[0], titled)]
            end = match.end()
            changed += 1
        return "".join(parts) + text[end:]

    def _places(self, text: str, written: str) -> Iterator[tuple[re.Match[str], Entry]]:
        words = set(re.findall(r"[a-z']+", text.casefold()))
        names = set(_QUOTED_NAME.findall(written.casefold()))
        for index in sorted({index for word in words for index in self._by_word.get(word, ())}):
            entry = self._entries[index]
            found = list(entry.pattern.finditer(text))
            if names & entry.options.keys():
                continue  # the word may stand for what has its name
            if entry.is_symmetric and len({_folded(match[0]) for match in found}) > 1:
                continue  # two words for one thing, or for two
            allowed = [match for match in found if entry.context.allows(text, match.start(), match.end(), written)]
            if entry.is_symmetric and len(allowed) < len(found):
                continue
            yield from ((match, entry) for match in (allowed if entry.is_symmetric else allowed[:1]))

    def replace_head(self, adverb: str, verb: str, rest: str, choices: Choices) -> str:
        """A request whose opening verb gives way to another, in the base form; the same request where none fits."""
        options = [f"{new} {tail}" for head in self._heads.get(verb, ()) for new, tail in _replaced(head, rest)]
        if options and choices.chance(f"head {verb}", _HEAD_SHARE):
            return adverb + choices.pick(f"verb {verb}", options)
        return f"{adverb}{verb} {rest}".rstrip()


def _replaced(head: Head, rest: str) -> Iterator[tuple[str, str]]:
    particles = head.verb.partition(" ")[2]
    if particles:
        if not rest.casefold().startswith(particles + " "):
            return
        rest = rest[len(particles) + 1 :]
    if not head.needs.match(rest) or head.unless.match(rest):
        return
    if head.swap[0]:
        rest = re.sub(rf"(?<= )(?:{head.swap[0]})(?= )", head.swap[1], rest, count=1)
    yield from ((new, rest) for new in head.into)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("<masked>", MASKED).replace("<span>", SPAN), re.IGNORECASE)


def _symmetric(table: Mapping[str, Any]) -> Entry:
    words = table["words"]
    return _entry(table, {word: tuple(other for other in words if other != word) for word in words}, True)


def _directed(table: Mapping[str, Any]) -> Entry:
    phrases = table["from"] if isinstance(table["from"], list) else [table["from"]]
    return _entry(table, {phrase: tuple(table["into"]) for phrase in phrases}, False)


def _entry(table: Mapping[str, Any], options: Mapping[str, tuple[str, ...]], is_symmetric: bool) -> Entry:
    phrases = "|".join(re.escape(phrase) for phrase in sorted(options, key=lambda phrase: (-len(phrase), phrase)))
    pattern = rf"(?<![\w'-])(?<!{MASKED})(?:{phrases})(?![\w'’-])(?!{MASKED})"
    compiled = re.compile(pattern.replace(r"\ ", r"\s"), re.IGNORECASE)
    return Entry(compiled, table.get("family", min(options)), options, is_symmetric, Context.of(table))


def _head(verb: str, table: Mapping[str, Any]) -> Head:
    unless = table.get("unless", "")
    return Head(
        verb=verb,
        into=tuple(other for other in table["into"] if other != verb),
        needs=re.compile(table.get("needs", r"\S"), re.IGNORECASE),
        unless=re.compile(rf"{_NO_OBJECT}|{unless}" if unless else _NO_OBJECT, re.IGNORECASE),
        swap=tuple(table.get("swap", ("", ""))),
    )


def _with_article(before: str, phrase: str) -> str:
    found = _ARTICLE.search(before)
    if found is None:
        return before
    return before[: found.start()] + found[1] + ("n" if _VOWEL.match(phrase) else "") + found[2]


def _cased(phrase: str, old: str, titled: bool) -> str:
    if titled and old[0].isupper():
        return re.sub(r"\b[a-z](?=\w{3})", lambda match: match[0].upper(), phrase)
    return phrase[0].upper() + phrase[1:] if old[0].isupper() else phrase


def _folded(phrase: str) -> str:
    return " ".join(phrase.casefold().split())

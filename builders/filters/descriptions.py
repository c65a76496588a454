"""Filters of descriptions: one English sentence that says what the function does."""

import re

from clmeeval_data.builders.sources import Pair
from clmeeval_data.english import foreign, has_function_word

# Openings of descriptions that say where a function belongs, or what to read instead, rather than what it does.
_BOILERPLATE = re.compile(
    r"^(?:see|same as|like|as above|ditto|internal|private|deprecated|obsolete|dummy|stub|helper|override[sn]?|"
    r"overridden|not implemented|unimplemented|undocumented|not documented|constructor|shorthand for|equivalent to|"
    r"initiali[sz]e(?:r|s)?(?: self| an? instance)?\.|implements? \w+(?:\.\w+)?\.$|test (?:program|case|suite|for)|"
    r"default (?:implementation|handler)|for (?:internal|backward)|hook|subclass(?:es)?|shortcut|alias|wrapper|"
    r"this (?:method|function|class) (?:is|was|will be|has been) (?:deprecated|called|used|here)|convenience|"
    r"return (?:repr|str|hash|len|iter|self\s*\W)|all callers|if you override|similar to|just like|"
    r"\w+ (?:version|variant) of|"
    r"(?:called|invoked|used|handler|callback) (?:when|by|for|from|if|after|before|on))(?!\w)",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"^[\w.]+\s*\(.*\)\s*(?:->|=>|[:=]|\.?$|--)|->|^\w\(\w+\)|^\w+\.\w+\(")
_RESIDUE = re.compile(
    r"^\W|>>>|::|:\w+:|`|\\\\|<[a-z/][^>]*>|https?://|@\w+|\b(?:TODO|XXX|FIXME)\b|[{}|]|--|==|\w \[\w"
)
_RUN_INTO_TITLE = re.compile(r"^[a-z].*[a-z\])] [A-Z][a-z]+ ")
_PLAIN_WORD = re.compile(r"\(?['\"]?[A-Za-z][a-z]*(?:[-'/][a-z]+)*['\"]?\)?[.,;:!?]?")

# Openings of remarks: why, when and for whom a function is there, what is true of its data, or a note to oneself.
_REMARK = re.compile(
    r"^(?:re-?implement\w*|notes?|warning|caution|important|because|since|due to|unlike|although|but|and|or|so|then|"
    r"we|you|i|it|it's|its|they|there|here|normally|usually|basically|actually|currently|always|maybe|perhaps|should|"
    r"must|can|may|might|will|would|does|do not|don't|is|are|was|has|have|only|just|also|never|nothing|none|no-?op|"
    r"that|these|those|when(?:ever)?|while|by default|to (?!do\b)\w+|on \w+|as \w+|at \w+|"
    r"in (?:the|a|case|order|replacement|comparison|practice|some|most|this)|"
    r"if (?:true|false|set|possible|enabled|not|we|you|this|the \w+ (?:is|was))|"
    r"main|entry|default|base|abstract|generic (?:function|method)|optional|required|experimental|temporary|quick|"
    r"dirty|hack\w*|workaround|magic|placeholder|example|demo|sample usage|usage|args?|arguments|param\w*|inputs?|"
    r"constructor|init|initiali[sz]\w+(?: of)?(?: the| an?)? (?:\w+ )?(?:class|object|instance|module)?\.|"
    r"decorators?\.|method\.|function\.|all \w+ (?:should|must|can|are|need)|\w+ (?:must|should|is important)|"
    r"an? \w+ (?:is|are|may|must|should|has|contains)|"
    r"this (?:is|was|has|should|must|can|may|might|one|class|code|does not|doesn't|exists|needs)|"
    r"the (?:\w+ ){1,4}(?:is|are|was|may|must|should|has|have|contains?|can|will|needs?))(?!\w)",
    re.IGNORECASE,
)
_SECOND_SENTENCE = re.compile(
    r"[a-z)\]'\"] (?:Returns?|Args|Arguments?|Parameters?|Params|Raises|Yields|Notes?|See|Uses?|This|These|The|It|If|"
    r"When|Inputs?|Outputs?|Examples?|Usage|Defaults?|Keyword|Also|Source|Only|For|In|You|We|Will)\b"
)
_LABEL = re.compile(
    r"\b(?:Args|Parameters|Params|Returns?|Input|Output|Raises|Yields|Usage|Example)\s?:|\b\w+ \(\w+(?:, \w+)*\)\s?:"
)
_QUOTE = re.compile(r"[rRuUbB]{0,2}(?:\"{3}|'{3}|'(?!.*'\W)|\"(?!.*\"\W))")
_OWN_NAME = re.compile(r"\w*(?:_\w+|[a-z][A-Z]\w*)\b|\w+(?:\.\w+)+\b|\w+\(")


def boilerplate(pair: Pair) -> str | None:
    """The description says what this function does, rather than where it belongs or what to read instead."""
    if _SIGNATURE.search(pair.target):
        return "a signature"
    return "boilerplate" if _BOILERPLATE.match(pair.target) else None


def broken_off(pair: Pair) -> str | None:
    """The description is a whole sentence."""
    text = pair.target
    if not text.endswith((".", "!", "?")) or text.endswith(("...", " etc.", ":.", ",.")):
        return "breaks off"
    if _RUN_INTO_TITLE.search(text):
        return "a title run into the sentence"
    opened, closed = (sum(text.count(bracket) for bracket in kind) for kind in ("([", ")]"))
    return "breaks off in a bracket or quote" if opened != closed or text.count('"') % 2 else None


def prose(pair: Pair, share: float) -> str | None:
    """The description is English without markup: plain words for the most part, function words among them."""
    if _RESIDUE.search(pair.target) or not pair.target.isascii():
        return "markup or code in the description"
    found = pair.target.split()
    plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in found) / len(found)
    return None if plain == 1 or (plain >= share and has_function_word(pair.target)) else "not English prose"


def described_in(pair: Pair, ascii_share: float) -> str | None:
    """The description is written in English, as far as its letters and function words show."""
    return foreign(pair.target, ascii_share)


def summary(pair: Pair) -> str | None:
    """The description is one sentence that says what the function does, and no remark about it."""
    text = pair.target
    if _QUOTE.match(text):
        return "a quote left over"
    if _LABEL.search(text) or _OWN_NAME.match(text):
        return "a signature"
    if _SECOND_SENTENCE.search(text) or text.endswith("?"):
        return "more than a sentence"
    return "a remark" if _REMARK.match(text) else None

"""Filters of intents: in English, whole, and a request that code can answer. Judged by their wording alone."""

import re

from clmeeval_data.builders.filters.lexical import content, is_title
from clmeeval_data.builders.sources import Pair
from clmeeval_data.english import foreign


def _any_of(alternatives: str) -> str:
    """A pattern from alternatives that stand one to a line."""
    return f"(?:{'|'.join(alternatives.strip().splitlines())})"


# A question or an order may follow a word or two of context: "Django: why does ...", "in Python, what is ...".
_OPENING = r"^(?:[\w.+#/ ]{1,30}[:,\-–]\s*)?"
_QUESTION = re.compile(
    _OPENING
    + _any_of(
        r"""
(?:why|who|whose|when|which|whether)\b
where\b(?! can i| do i)
should (?:i|we|you|one)\b
what (?:a|an|your|you|this|happen\w*|cause\w*|make\w*|kinds?|types?|exactly|wrong|going|differen\w+|reason\w*|good)\b
what(?:'s| is| are) (?:a|an|your|you|this|happening|wrong|going|up|exactly|there|some|good)\b
what(?:'s| is| are) (?:the )?(?:differen\w+|\w*advantage\w*|benefits?|meaning|purpose|point|reasons?|pros|deal|cause)\b
what(?:'s| is| are) (?:the )?(?:problem|story|limits?|status|name)\b
what (?:does|do|did|am|should|would|can|could|has|have|was|will)\b
how (?:is|are|was|come|much|long|good|bad|safe|well|fast|slow|big|large|expensive|reliable|common)\b
how does (?!one\b|a\b|someone\b)
do (?:i|you|we|they|any|all|most|these|python|django)\b
(?:am|did|has|have|had|will|would|shall|isn't|aren't|doesn't|don't)\b
(?:is|are|was|were|does)\b(?! there (?:an?|any|some|anyway|something)\b| (?:it )?possible| any\b.*\b(?:way|possible))
        """
    )
)
_DISCUSSION = re.compile(
    _any_of(
        r"""
^(?:[\w ]{1,25}[:-] )?(?:the )?(?:\w+ )?differences? (?:between|in|of|when|with)\b
\b(?:vs|versus|pros and cons|best practices?|meaning of|what does|advice|opinions?)\b
\b(?:explain\w*|explanation|understand\w*|confus\w+|recommend\w*)\b
\b(?:good|bad|best) idea\b
\bquestions? (?:about|on|regarding|with)\b
\bany (?:ideas?|suggestions?)\b
        """
    )
)
_FAULT = re.compile(
    _any_of(
        r"""
\b(?:not|never|no longer) (?:\w+ ){0,2}?(?:work|run|show|display|find|found|load|updat|sav|appear|print|return|call)\w*
\b(?:not|never|no longer) (?:\w+ ){0,2}?(?:match|import|compil|respond|detect|see|writ|read|correct|being|get|defin)\w*
\b(?:not|never|no longer) (?:\w+ ){0,2}?(?:render|fir|recogni[sz]|callable|subscriptable|iterable)\w*
\b(?:doesn|don|didn|won|isn|aren|wasn|can|couldn|wouldn|hasn|haven)[’']?t\b
\b(?:cannot|unable to|fail(?:s|ed|ing|ure|ures)?|no module|no such|not found|stuck|too slow|giving me)\b
\b(?:problems?|issues?|bugs?|errors?|exception|traceback|broken|invalid|hangs?|hanging)\b
(?:error|exception)\b
\b(?:trouble|wrong|strange|weird|unexpected|crash|incorrect|inconsisten|mysterious|disappear|refus|troubleshoot)\w*
\b(?:corrupt|freez|froze)\w*
\b(?:infinite loop|as expected|lost|causes)\b
\b(?:ignores|ignored|loses|hides|changes (?:after|when)|keeps \w+ing|always (?:returns?|prints?|gives?|shows?))\b
\bonly (?:prints|returns|shows|works|reads|writes|gets|gives|outputs|finds|saves)\b
\b(?:segfault|segmentation fault|debugging|throw(?:s|n)|(?:stops|stopped) \w+ing)\b
\bodd\b(?! (?:number|index|indices|element|integer|value|line|row))
\bhelp\b(?! (?:text|string|message|page|button|menu))
\bfix(?:ing|es)?\b(?! (?:width|size|length))
\b(?:solv|resolv)(?:e|ing) (?:the|this|my|an?)\b
\bmissing (?!values?|data|keys?|dates?|elements?|numbers?|rows?|index)
        """
    )
)
# What isn't, or doesn't, may be what is asked for: "the files that don't match", "if the folder does not exist".
_WANTED = re.compile(
    r"\b(?:that|which|who|if|where|when|while|until|unless|whether|without)\b.{0,40}?"
    r"\b(?:not|n't|[a-z]+n[’']t|cannot|fails?|exceptions?|errors?|invalid|handling|missing)\b|`[^`]*`"
)
_HOW_TO = re.compile(
    r"\bhow (?:to|(?:do|does|can|could|should|would|might) (?:i|you|we|one|a|the)\b)|\bways? (?:to|of)\b"
)
_ORDER = re.compile(
    _OPENING
    + r"(?:abort|add|append|avoid|calculate|call|catch|check|compute|convert|count|create|delete|detect|determine|"
    r"drop|exit|extract|fill|filter|find|get|handle|ignore|list|log|manually|match|plot|prevent|print|raise|remove|replace|"
    r"restart|retry|return|select|set|show|skip|split|stop|suppress|terminate|test|throw|validate|wait|write)\b"
)
_REPAIR = re.compile(
    r"\b(?:fix|solv|debug|troubleshoot)\w*|\b(?:problems?|issues?|wrong)\b|(?:n't|not) work|\bgetting\b.*\b\w*error|"
    r"\bresolve (?:the |this |an? )?\w*(?:error|exception)|\b(?:error|exception)s? (?:when|while|in|on|with)\b"
)
_ELSEWHERE = re.compile(
    r"^(?:\( ?)?(?:same as|similar to|like|just like|see|as above|identical to|alias (?:of|for)|synonym|works? like|"
    r"these|the above|deprecated|obsolete|undocumented|internal|constants? used|possible values?|in range|not used|"
    r"default implementation|(?:new|changed|added) in|unused|only available|for (?:internal|backwards?) |"
    r"this (?:\w+ )?(?:is|was|does|works)(?: exactly| very)? "
    r"(?:the same|like|similar|identical|equivalent|deprecated|not))(?!\w)"
)
_DIFFERS = re.compile(r"\b(?:but|except|instead|however|only that|with the difference)\b")
_BROKEN_OFF = re.compile(r"(?:[:,;(]|\b(?:e ?\. ?g|i ?\. ?e|eg|ie)\b)[ .]*$|\b(?:the|an|of|and|or|with)$")


def language(pair: Pair, ascii_share: float) -> str | None:
    """The intent is written in English, as far as its letters and function words show."""
    return foreign(pair.prompt, ascii_share)


def whole(pair: Pair) -> str | None:
    """The intent has an end, and says itself what it asks for."""
    text = pair.prompt.strip().casefold()
    if _BROKEN_OFF.search(text) or text.count("(") != text.count(")"):
        return "breaks off"
    elsewhere = _ELSEWHERE.match(text) and not _DIFFERS.search(text)
    return "points at another text" if elsewhere else None


def request(pair: Pair) -> str | None:
    """The intent asks for something that code does.

    Not for an explanation, a comparison or an opinion; and it doesn't report a fault, whose remedy can't be known from
    its wording. Only titles are judged: ``lexical.is_title``.
    """
    text = pair.prompt.strip().casefold()
    if not is_title(pair):
        return None
    if _QUESTION.search(text) or _DISCUSSION.search(text):
        return "asks for an explanation"
    if not _FAULT.search(_WANTED.sub(" ", text)):
        return None
    asks = (_HOW_TO.search(text) or _ORDER.search(text)) and not _REPAIR.search(text)
    return None if asks else "reports a fault"


def specific(pair: Pair, least: int) -> str | None:
    """The intent has words that say what is asked for, besides those of every question."""
    return "too few content words" if len(content(pair.prompt)) < least else None

"""What a chat model says around a rewording, rather than in it."""

import re

_REWORDED = r"(?:re(?:written|phrased|worded|vised|factored|stated)|paraphrased?|new|updated|modified|alternative)"
_THING = r"(?:version|intent|sentence|text|request|wording|function|code|question|description|prompt|output|answer)"
_RESIDUE = (
    re.compile(
        r"\A\W*(?:sure|certainly|of course|absolutely|okay|ok|great|no problem|happy to help)\b ?[,.!:–—-]", re.I
    ),
    re.compile(rf"\bhere(?:'s| is| are|’s) (?:(?:the|your|a|an|one|my) )?(?:\w+ )?{_REWORDED}\b", re.I),
    re.compile(rf"\bhere(?:'s| is|’s) (?:the|your|a|an|one|my) (?:\w+ )?{_THING}\b[^\n]*:", re.I),
    re.compile(rf"\A\W*(?:the )?{_REWORDED}(?: {_THING})?\W{{0,3}}:", re.I),
    re.compile(r"\A\W*(?:rewrite|rephrasing|paraphrase|output|answer|response)\W{0,3}:", re.I),
    re.compile(r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b", re.I),
    re.compile(r"\bI(?: am|'m|’m) (?:sorry\b|afraid I\b)", re.I),
    re.compile(
        r"\bI (?:cannot|can ?not|can't|can’t|am (?:unable|not able) to|won't) "
        r"(?:help|assist|comply|rewrite|rephrase|reword|fulfil|provide|answer)",
        re.I,
    ),
    re.compile(r"\blet me know if\b|\bI hope (?:this|that) helps\b|\bfeel free to\b", re.I),
    re.compile(r"<\|?(?:im_start|im_end|endoftext|eot_id|assistant|/?think)\|?>", re.I),
)
_FENCED = re.compile(r"\A\s*(?:```|~~~).*(?:```|~~~)\s*\Z", re.S)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "`": "`"}


def residue(prompt: str, rephrased: str) -> str | None:
    """What of a chat is left around a rewording: "chat residue", "in a code fence", "in quotes"; None where nothing is.

    What the prompt has as well is its own.
    """
    if _FENCED.match(rephrased) and not _FENCED.match(prompt):
        return "in a code fence"
    if is_quoted(rephrased) and not is_quoted(prompt):
        return "in quotes"
    said = any(pattern.search(rephrased) and not pattern.search(prompt) for pattern in _RESIDUE)
    return "chat residue" if said else None


def is_quoted(text: str) -> bool:
    """Whether one pair of quotes stands around all of a text, and no such quote within."""
    text = text.strip()
    closing = _QUOTES.get(text[:1], "")
    return len(text) > 1 and bool(closing) and text.endswith(closing) and not {text[0], closing} & set(text[1:-1])

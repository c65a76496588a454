"""What the case explorer shows of a case, as JSON fragments: texts made visible and clipped, never markup.

asked    {"p": prompt, "r": rephrased prompt, "t": target, "n": [neighbour prompts], "more": neighbours left out}
before   {"a": unedited answer, "r": to the rephrased prompt, "n": [to the neighbours]}
answer   {"a", "r", "n": as before, a neighbour's 0 for unchanged; "h": right after its own edit; "b": its own before;
         "k": [group, place in it, size]}, or {"x": why the case failed}

A text is a JSON string, or [text, number of characters not shown].
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from json.encoder import encode_basestring
from typing import Any

from clmeeval_data.evaluation.report.untrusted import clip

LONGEST = 4000  # characters of a text on the page
SHORTEST = 32  # and of a text in a case that is too large otherwise
MOST_NEIGHBOURS = 20

Entry = Mapping[str, Any]
Shown = Callable[[Any], str]  # a text as JSON


def asked(entry: Entry, budget: int) -> bytes:
    """What was asked in a case."""
    case = entry["case"]
    neighbours = case.get("neighbour_prompts") or []
    more = max(0, len(neighbours) - MOST_NEIGHBOURS)

    def content(shown: Shown) -> str:
        texts = ",".join(f'"{key}":{shown(case[name])}' for key, name in _ASKED)
        return f'{{{texts},"n":{_list(map(shown, neighbours[:MOST_NEIGHBOURS]))},"more":{more}}}'

    return _fitted(content, budget)


_ASKED = (("p", "prompt"), ("r", "rephrased_prompt"), ("t", "target"))


def unedited(outputs: Entry) -> tuple[str, ...]:
    """The answers of the unedited model: to the prompt, its rephrasing, the neighbours."""
    near = [pair["before"] for pair in outputs["specificity"][:MOST_NEIGHBOURS]]
    return (outputs["effectiveness"]["before"], outputs["generalisation"]["before"], *near)


def before(texts: Sequence[str], budget: int) -> bytes:
    """The unedited answers of a case."""
    return _fitted(lambda shown: _unedited(texts, shown), budget)


def answer(entry: Entry, own: Sequence[str] | None, budget: int) -> bytes:
    """What a method answered in a case, or why it failed; ``own``: unedited answers that are not those of the case."""
    if entry.get("error") is not None:
        return _fitted(lambda shown: f'{{"x":{shown(reason(entry))}}}', budget)
    outputs, right_after, group = entry["outputs"], entry.get("right_after"), entry.get("group")

    def content(shown: Shown) -> str:
        first, rephrased = outputs["effectiveness"]["after"], outputs["generalisation"]["after"]
        near = [_changed(pair, shown) for pair in outputs["specificity"][:MOST_NEIGHBOURS]]
        parts = [f'"a":{shown(first)},"r":{shown(rephrased)},"n":{_list(near)}']
        if right_after is not None:
            parts.append(f'"h":{shown(right_after["outputs"]["effectiveness"]["after"])}')
        if own is not None:
            parts.append(f'"b":{_unedited(own, shown)}')
        if group is not None:
            parts.append(f'"k":{_list(str(int(group[key])) for key in ("index", "position", "size"))}')
        return f"{{{','.join(parts)}}}"

    return _fitted(content, budget)


def reason(entry: Entry) -> str:
    """Why a case failed."""
    error = entry["error"]
    if not isinstance(error, Mapping):
        return str(error)
    return f"{error.get('type', 'Error')}: {error.get('message', '')}"


def encoded(content: Any) -> bytes:
    """A value as compact JSON that can stand anywhere in a script, and in a page."""
    return _safe(json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def _safe(text: str) -> bytes:
    return text.replace("<", "\\u003c").encode("utf-8", "backslashreplace")


def _changed(pair: Entry, shown: Shown) -> str:
    old, new = pair["before"], pair["after"]
    return "0" if old == new or old.strip() == new.strip() else shown(new)


def _unedited(texts: Sequence[str], shown: Shown) -> str:
    return f'{{"a":{shown(texts[0])},"r":{shown(texts[1])},"n":{_list(map(shown, texts[2:]))}}}'


def _list(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


def _fitted(content: Callable[[Shown], str], budget: int) -> bytes:
    """The content in at most ``budget`` bytes if shorter texts can do that."""
    limit = LONGEST
    fragment = _safe(content(_shown))
    while len(fragment) > budget and limit > SHORTEST:
        limit //= 2
        fragment = _safe(content(partial(_shown, limit=limit)))
    return fragment


def _shown(text: Any, limit: int = LONGEST) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{str(text)[:40]!r} is not a text")
    if len(text) <= limit and text.isprintable():
        return encode_basestring(text)
    clipped = clip(text, limit)
    return (
        f"[{encode_basestring(clipped.text)},{clipped.hidden}]" if clipped.hidden else encode_basestring(clipped.text)
    )

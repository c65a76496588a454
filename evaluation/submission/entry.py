"""One finished case of a run, looked at by itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.scoring.dimensions import score_outputs
from clmeeval_data.evaluation.scoring.metrics import METRICS, text_scores
from clmeeval_data.evaluation.scoring.summary import EXACT_MATCH_ALL
from clmeeval_data.evaluation.submission.expectation import Expectation
from clmeeval_data.evaluation.submission.findings import Fault, shown
from clmeeval_data.evaluation.submission.scores import out_of_range, unlike
from clmeeval_data.evaluation.submission.shapes import Shape, misfits

LONGEST_TEXT = 20_000  # characters of a target or an answer: beyond, comparing two of them takes minutes
# What no known tokenizer passes: tokens of runs of blanks have up to 128 characters, tokens across words four words.
TOKEN_CHARACTERS, TOKEN_WORDS = 128, 4
TEXTS = {"before": str, "after": str}
CASE: Shape = {"prompt": str, "rephrased_prompt": str, "target": str, "neighbour_prompts": [str]}
FAILED: Shape = {"id": str, "error": {"type": str, "message": str}, "case": CASE}
FINISHED: Shape = {
    "id": str,
    "error": None,
    "case": CASE,
    "outputs": {"effectiveness": TEXTS, "generalisation": TEXTS, "specificity": [TEXTS], "fluency": {"after": str}},
    "scores": dict,
    "cost": {"edit_seconds": float, "peak_bytes": (None, int), "batch_size": int},
}
GROUP: Shape = {"group": {"index": int, "position": int, "size": int}}
SEQUENCE: Shape = {
    "right_after": {"outputs": {"effectiveness": TEXTS}, "scores": dict},
    "checkpoints": [{"edits": int, "scores": dict}],
}


def form_faults(entry: Mapping[str, Any], expected: Expectation) -> list[Fault]:
    """Where an entry has not the form of the results format; nothing else is looked at before this is empty."""
    failed = entry.get("error") is not None
    shape = dict(FAILED if failed else FINISHED)
    if expected.protocol != "single":
        shape |= GROUP
    if expected.protocol == "sequential" and not failed:
        shape |= SEQUENCE
    return [*misfits(entry, shape, "entry"), *_length_faults(entry)]


def _length_faults(entry: Mapping[str, Any]) -> Iterator[Fault]:
    case = entry.get("case")
    target = case.get("target") if isinstance(case, Mapping) else None
    if isinstance(target, str) and len(target) > LONGEST_TEXT:
        yield Fault("case.target is too long", f"at most {LONGEST_TEXT:,} characters", f"{len(target):,}")


def content_faults(entry: Mapping[str, Any], expected: Expectation) -> Iterator[Fault]:
    """What is wrong with an entry of the right form."""
    yield from _case_faults(entry["case"], expected)
    if expected.protocol != "single":
        yield from _group_faults(entry["group"], expected)
    if entry["error"] is not None:
        if entry.get("scores") or entry.get("outputs"):
            yield Fault("a failed case has outputs or scores", "neither", "both or one")
        return
    case, outputs = _case(entry), entry["outputs"]
    too_long = [*_answer_faults(case, outputs, expected)]
    yield from too_long
    yield from _cost_faults(entry["cost"])
    if len(outputs["specificity"]) != len(case.neighbour_prompts):
        found = f"{len(outputs['specificity'])}"
        yield Fault("outputs.specificity has not one answer per neighbour", f"{len(case.neighbour_prompts)}", found)
        return
    if too_long:
        return  # an answer that cannot be is not scored either
    yield from _score_faults(entry, case, expected)
    if expected.floor:
        yield from _floor_faults(outputs)


def _case(entry: Mapping[str, Any]) -> Case:
    texts = entry["case"]
    return Case(
        entry["id"], texts["prompt"], texts["rephrased_prompt"], texts["target"], tuple(texts["neighbour_prompts"])
    )


def _case_faults(case: Mapping[str, Any], expected: Expectation) -> Iterator[Fault]:
    before, after = expected.template
    fields = {"prompt": [case["prompt"]], "rephrased_prompt": [case["rephrased_prompt"]]}
    for name, prompts in {**fields, "neighbour_prompts": case["neighbour_prompts"]}.items():
        for prompt in prompts:
            if not (prompt.startswith(before) and prompt.endswith(after)):
                wanted = shown(f"{before}…{after}")
                yield Fault(f"case.{name} is not in the benchmark's template", wanted, shown(prompt))
    if not case["target"].strip():
        yield Fault("case.target is empty", "a text", shown(case["target"]))


def _group_faults(group: Mapping[str, int], expected: Expectation) -> Iterator[Fault]:
    if not 1 <= group["size"] <= expected.size:
        yield Fault("group.size is not the protocol's", f"1 to {expected.size}", shown(group["size"]))
    if not 0 <= group["position"] < group["size"]:
        yield Fault("group.position is outside its group", f"0 to {group['size'] - 1}", shown(group["position"]))


def _answer_faults(case: Case, outputs: Mapping[str, Any], expected: Expectation) -> Iterator[Fault]:
    """Answers of more tokens than were allowed, where the text alone tells."""
    target = len(case.target.encode("utf-8", "replace")) + 1  # no tokenizer makes more tokens than bytes
    for name in ("effectiveness", "generalisation"):
        yield from _too_long(outputs[name].values(), target, f"outputs.{name}")
    for item in outputs["specificity"]:
        yield from _too_long(item.values(), expected.specificity_tokens, "outputs.specificity")
    yield from _too_long([outputs["fluency"]["after"]], expected.fluency_tokens, "outputs.fluency")


def _too_long(texts: Any, tokens: int, path: str) -> Iterator[Fault]:
    for text in texts:
        characters, words = min(LONGEST_TEXT, TOKEN_CHARACTERS * tokens), TOKEN_WORDS * tokens
        if len(text) > characters or len(text.split()) > words:
            yield Fault(
                f"{path} has more tokens than allowed",
                f"{tokens} tokens, so at most {characters:,} characters and {words:,} words",
                f"{len(text):,} characters and {len(text.split()):,} words",
            )


def _cost_faults(cost: Mapping[str, Any]) -> Iterator[Fault]:
    if cost["edit_seconds"] <= 0:
        yield Fault("cost.edit_seconds is impossible", "more than 0", shown(cost["edit_seconds"]))
    if cost["peak_bytes"] is not None and cost["peak_bytes"] < 0:
        yield Fault("cost.peak_bytes is impossible", "0 or more", shown(cost["peak_bytes"]))
    if cost["batch_size"] < 1:
        yield Fault("cost.batch_size is impossible", "1 or more", shown(cost["batch_size"]))


def _score_faults(entry: Mapping[str, Any], case: Case, expected: Expectation) -> Iterator[Fault]:
    try:
        yield from unlike(entry["scores"], score_outputs(case, entry["outputs"], expected.code))
        if expected.protocol == "sequential":
            yield from _sequence_faults(entry, case, expected)
    except (ValueError, RecursionError) as error:  # texts that are no Unicode, or nested beyond parsing
        yield Fault("outputs cannot be scored", "texts that a tokenizer decodes to", shown(str(error)))


def _sequence_faults(entry: Mapping[str, Any], case: Case, expected: Expectation) -> Iterator[Fault]:
    texts = entry["right_after"]["outputs"]["effectiveness"]
    too_long = [*_too_long(texts.values(), len(case.target.encode("utf-8", "replace")) + 1, "right_after.outputs")]
    yield from too_long
    if not too_long:
        scores = {"effectiveness": text_scores(texts["after"], case.target, code=expected.code)}
        yield from unlike(entry["right_after"]["scores"], scores, "right_after.scores")
    original = entry["outputs"]["effectiveness"]["before"]
    if texts["before"] != original:
        yield Fault("right_after has another unedited answer than outputs", shown(original), shown(texts["before"]))
    yield from _checkpoint_faults(entry, expected)


def _checkpoint_faults(entry: Mapping[str, Any], expected: Expectation) -> Iterator[Fault]:
    group, points = entry["group"], entry["checkpoints"]
    wanted = expected.points(group["position"], group["size"])
    edits = [point["edits"] for point in points]
    if edits != wanted:
        yield Fault("checkpoints are not those of the protocol", shown(str(wanted)), shown(str(edits)))
    for point in points:
        yield from _range_faults(point["scores"])
    if points and points[-1]["edits"] == group["size"]:
        scored = points[-1]["scores"]
        last = {dimension: entry["scores"][dimension] for dimension in scored if dimension in entry["scores"]}
        if scored != last:
            yield Fault("the last checkpoint has other scores than the end", "entry.scores", "others")


def _range_faults(scores: Mapping[str, Any]) -> Iterator[Fault]:
    for metrics in scores.values():
        for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
            if name not in METRICS and name != EXACT_MATCH_ALL:
                yield Fault("checkpoints have an unknown metric", ", ".join(METRICS), shown(name))
            elif fault := out_of_range(name, value, f"checkpoints.{name}"):
                yield fault


def _floor_faults(outputs: Mapping[str, Any]) -> Iterator[Fault]:
    """The method that edits nothing changes no answer."""
    answers: Sequence[Mapping[str, str]] = [
        outputs["effectiveness"], outputs["generalisation"], *outputs["specificity"]
    ]  # fmt: skip
    for answer in answers:
        if answer["before"] != answer["after"]:
            yield Fault("the floor changed an answer", shown(answer["before"]), shown(answer["after"]))
            return

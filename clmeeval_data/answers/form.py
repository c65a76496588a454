"""What a row of answers is, and what describes the model that gave them."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clmeeval_data.schema import SCHEMA_VERSION, VERSION_KEY

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "answers"
PREFIX = "answers-"
USUAL_DTYPE = "float32"
_ANSWER = {
    "ids": {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"},
    "text": {"dtype": "string", "_type": "Value"},
}
# The columns in the JSON form that `datasets` keeps in parquet files.
FEATURES: dict[str, Any] = {
    "case_id": {"dtype": "string", "_type": "Value"},
    "key": {"dtype": "string", "_type": "Value"},
    "prompt": _ANSWER,
    "rephrased_prompt": _ANSWER,
    "neighbours": {"feature": _ANSWER, "_type": "List"},
}
COLUMNS = {
    "case_id": "id of the case in the dataset",
    "key": "the case's id and a hash of its texts: an answer is to exactly these",
    "prompt": "what the model answers to the prompt, in as many tokens as the target has",
    "rephrased_prompt": "the same for the rephrased prompt",
    "neighbours": "what it answers to each neighbour, in their order",
}


@dataclass(frozen=True)
class Answer:
    """One answer: its token ids without the end-of-text token, and the text of these, white space kept."""

    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class CaseAnswers:
    """What a model answers to one case. ``key``: the case's id and a hash of the texts that were asked."""

    case_id: str
    key: str
    prompt: Answer
    rephrased_prompt: Answer
    neighbours: tuple[Answer, ...]

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers: to the prompt, to the rephrased one, to the neighbours."""
        return (self.prompt, self.rephrased_prompt, *self.neighbours)

    def to_row(self) -> dict[str, Any]:
        """The answers as plain dicts and lists, in the order of the columns."""
        row: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "CaseAnswers":
        """The inverse of ``to_row``.

        Raises:
            KeyError, TypeError: If a field is missing or null.
        """
        near = tuple(map(_answer, row["neighbours"]))
        return cls(
            _text(row["case_id"]), _text(row["key"]), _answer(row["prompt"]), _answer(row["rephrased_prompt"]), near
        )


@dataclass(frozen=True)
class Answering:
    """Which model answered, and how: everything that can change an answer.

    ``fingerprint``: of its weights. ``dtype``: their precision. ``decoding``: how answers were generated, as JSON
    values. ``end_of_text``: what the tokenizer writes for the token that ends a text.
    """

    model: str
    fingerprint: str
    dtype: str
    decoding: Mapping[str, Any]
    end_of_text: str

    def is_same(self, other: "Answering") -> bool:
        """Whether the answers are interchangeable: the name of the model does not matter."""
        return (self.fingerprint, self.dtype, dict(self.decoding)) == (
            other.fingerprint,
            other.dtype,
            dict(other.decoding),
        )


def is_answers(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is that of a configuration of answers."""
    return manifest.get("kind") == KIND


def config_name(model: str, dtype: str = USUAL_DTYPE) -> str:
    """The name of a configuration: ``org/Model-1B`` becomes ``answers-org--model-1b``; an unusual precision follows."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", model.lower().replace("/", "--")).strip("-.") or "unnamed"
    return f"{PREFIX}{slug}" + ("" if dtype == USUAL_DTYPE else f"-{dtype}")


def arrow_schema() -> "pa.Schema":
    """The columns of the parquet files, with the schema's version and the features as ``datasets`` reads them."""
    import pyarrow as pa

    answer = pa.struct([pa.field("ids", pa.list_(pa.int32())), pa.field("text", pa.string())])
    kinds = {"prompt": answer, "rephrased_prompt": answer, "neighbours": pa.list_(answer)}
    metadata = {
        VERSION_KEY: SCHEMA_VERSION.encode(),
        b"huggingface": json.dumps({"info": {"features": FEATURES}}).encode(),
    }
    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in FEATURES], metadata=metadata)


def _answer(value: Mapping[str, Any]) -> Answer:
    if any(not isinstance(one, int) for one in value["ids"]):
        raise TypeError("a token id is null")
    return Answer(tuple(value["ids"]), _text(value["text"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is null")
    return value

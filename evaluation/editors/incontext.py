"""In-context editing: nothing is changed; the model reads the edit as a worked example before every prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, ClassVar

import torch

from clmeeval_data.errors import CaseError
from clmeeval_data.evaluation.editors.contract import EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.updates import Preamble


@dataclass(frozen=True)
class InContextConfig(EditorConfig):
    """Settings of in-context editing.

    ``instruction``: what is read before a prompt for every request, with {prompt} and {target} where the request's own
    go; braces of other meaning are doubled.
    """

    instruction: str = "{prompt} {target}\n\n"

    def __post_init__(self) -> None:
        expected = "a text with {prompt} and {target}, and other braces doubled"
        self._require(_fields(self.instruction) == {"prompt", "target"}, "instruction", expected)

    def text(self, request: EditRequest) -> str:
        """What is read for a request."""
        return self.instruction.format(prompt=request.prompt, target=request.target)


class InContext:
    """The edit as a worked example in the prompt.

    Source: IKE, Zheng et al., "Can We Edit Factual Knowledge by In-Context Learning?", EMNLP 2023 (arXiv 2305.12740),
    section 3: the new fact is set before the prompt. Without its demonstrations of when to follow the fact and when not
    to, and in the benchmark's own template rather than as "New Fact: ...": the floor that needs no other cases.
    """

    name: ClassVar[str] = "incontext"
    summary: ClassVar[str] = "the edit as an example before the prompt; no change of the model"
    family: ClassVar[Family] = "memory"
    changes: ClassVar[str] = "text before the prompt"
    needs: ClassVar[str] = "nothing"
    config_class: ClassVar[type[EditorConfig]] = InContextConfig

    def __init__(self, config: InContextConfig) -> None:
        self.config = config

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Nothing to prepare."""

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One preamble with all requests in their order.

        Raises:
            CaseError: If a request does not fit into the model's context behind it.
        """
        parts = [self._preamble(lm, request) for request in requests]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.plus(part)
        tokens = len(whole.ids)
        for request in requests:
            _check_room(lm, tokens, request)
        return Edit(
            updates=(whole,),
            fingerprint=lm.fingerprint,
            method=self.name,
            config=self.config.as_dict(),
            case_ids=tuple(request.case_id for request in requests),
            details={"tokens": float(tokens)},
        )

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A preamble for every request."""
        return [self.edit(lm, [request]) for request in requests]

    def _preamble(self, lm: LanguageModel, request: EditRequest) -> Preamble:
        """The request's text, in the tokens that it has before a prompt like its own.

        A tokenizer may split the end of a text in another way when something follows.
        """
        text = self.config.text(request)
        own, whole = lm.encode(request.prompt), _ids(lm, text + request.prompt)
        ids = whole[: -len(own)] if whole[-len(own) :] == own else _ids(lm, text)
        return Preamble(torch.tensor(ids, dtype=torch.long), text)


def _fields(template: str) -> set[str]:
    """What stands in braces in a template; nothing if they cannot be read."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        return set()
    return {f"{name}{how or ''}{spec or ''}" for _, name, spec, how in parts if name is not None}


def _check_room(lm: LanguageModel, before: int, request: EditRequest) -> None:
    asked = len(lm.encode(request.prompt)) + len(lm.encode_target(request.prompt, request.target))
    if before + asked > lm.context_length:
        raise CaseError(
            f"the examples before the prompt have {before} tokens, prompt and target {asked}; the context of {lm.name} "
            f"holds {lm.context_length}. Put fewer requests into one edit, or take a model with a longer context."
        )


def _ids(lm: LanguageModel, text: str) -> list[int]:
    return list(lm.tokenizer(text, add_special_tokens=False).input_ids)

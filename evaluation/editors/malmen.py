"""MALMEN: a network, trained on cases, reads an edit's keys and gradients and says what the outputs should change by.

(K, G) -> D (hypernetwork),   S = (K^T K + e^lambda I)^-1 K^T D,   W' = W + S^T
Training: -log p'(target | rephrased prompt) + KL(p || p') along the unedited model's answers to the neighbours, where
p' is the model under the edit that a batch of cases makes together.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_tensor

from clmeeval_data.evaluation.editors.contract import Case, EditorConfig, EditRequest, Family, Track, untracked
from clmeeval_data.evaluation.editors.gradients import (
    LayersConfig,
    Signals,
    home_of,
    pooled,
    read_signals,
    ridge_edit,
)
from clmeeval_data.evaluation.editors.hypernetwork import Hypernetwork, PredictedEdits, Question, question_losses
from clmeeval_data.evaluation.editors.lookup import PART_ROWS
from clmeeval_data.evaluation.editors.trained import Schedule, Trained, Trainer, required
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.generate import Continuation, generate
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.partial import run_layers
from clmeeval_data.evaluation.model.prefix import pad, read_prompts

KEPT_BYTES = 2 << 30  # of what was read of cases, in main memory; beyond it the longest unused is read anew
BATCH = 8  # cases that are read together


@dataclass(frozen=True)
class MalmenConfig(LayersConfig):
    """Settings of MALMEN.

    ``layers``: whose MLP output maps are changed. ``rank``, ``blocks``: of the network. ``eta``: its first step size,
    learned with ``eta_learning_rate``; everything else with ``learning_rate``, at most ``steps`` times, on batches of
    ``batch_size`` cases, with gradients clipped to norm ``clip``. ``together``: the cases of a batch make one edit, as
    published, rather than one each, as in an evaluation. ``locality``: weight of the KL term, which looks at
    ``kept_tokens`` tokens of each neighbour's answer. ``validate_every``: steps; ``patience``: validations without a
    better loss, none for never stopping early. ``seed``: of the network's first weights.
    """

    rank: int = 1920
    blocks: int = 2
    eta: float = 1e-6
    eta_learning_rate: float = 1e-5
    learning_rate: float = 1e-5
    steps: int = 1000
    batch_size: int = 4
    clip: float = 1.0
    together: bool = True
    locality: float = 1.0
    kept_tokens: int = 16
    validate_every: int = 100
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "steps", "batch_size", "kept_tokens", "validate_every"):
            self._require(getattr(self, name) >= 1, name, "at least 1")
        for name in ("eta", "eta_learning_rate", "learning_rate", "clip"):
            self._require(getattr(self, name) > 0, name, "a number above 0")
        self._require(self.blocks >= 0, "blocks", "0 or more")
        self._require(self.locality >= 0, "locality", "0 or more")
        self._require(self.patience is None or self.patience >= 1, "patience", "at least 1")

    @property
    def network_settings(self) -> dict[str, Any]:
        """What a trained network fits to, and must be the same when it is used."""
        return {"layers": list(self.layers), "rank": self.rank, "blocks": self.blocks}


class Malmen:
    """Massive Language Model Editing Network.

    Source: Tan et al., "Massive Editing for Large Language Models via Meta Learning", ICLR 2024 (arXiv 2311.04661), in
    the form of its released code. Keys and gradients come from the tokens that predict the target in its context, and
    the running statistics are frozen after training (the benchmark's released code takes the first tokens of the
    sequence, encodes the target alone, and lets the statistics learn from the test items). Departures from the paper:
    the loss whose gradients are read is each request's own mean, so that a request's signals do not depend on what is
    edited beside it; in training every case counts the same, however long its target; and the regression is solved in
    its n x n form, which has the same result.
    """

    name: ClassVar[str] = "malmen"
    summary: ClassVar[str] = "a trained network turns gradients into updates of several MLPs"
    family: ClassVar[Family] = "global optimisation"
    changes: ClassVar[str] = "MLP output maps of upper layers"
    needs: ClassVar[str] = "a trained file"
    config_class: ClassVar[type[EditorConfig]] = MalmenConfig
    needs_training: ClassVar[bool] = True

    def __init__(self, config: MalmenConfig, trained: Trained | None = None) -> None:
        self.config = config
        self.trained = trained
        self._nets: dict[str, Hypernetwork] = {}  # by the model's fingerprint

    def inputs(self, train: Sequence[EditRequest]) -> Mapping[str, Any]:
        """Digest of the trained file."""
        return {"trained": required(self.trained, self.name).digest}

    def prepare(self, lm: LanguageModel, train: Sequence[EditRequest], track: Track = untracked) -> None:
        """Set up the trained network.

        Raises:
            ConfigError: If there is none, or it belongs to another model, method or setting.
            ModelError: If the model has not got one of the layers.
        """
        home = home_of(lm, self.config.layers)
        trained = required(self.trained, self.name)
        trained.check(lm, self.name, self.config.network_settings)
        net = _network(lm, self.config)
        net.restore(trained.tensors)
        self._nets[lm.fingerprint] = net.to(home).requires_grad_(False)

    def edit(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> Edit:
        """One change per layer, from one regression over the tokens of all requests."""
        return self._solve(lm, requests, pooled(read_signals(lm, requests, self.config.layers)))

    def edit_each(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Edit]:
        """A regression for every request; their signals are read in one batch."""
        signals = read_signals(lm, requests, self.config.layers)
        return [self._solve(lm, [request], one) for request, one in zip(requests, signals, strict=True)]

    def trainer(self, lm: LanguageModel) -> "MalmenTrainer":
        """A training that starts anew, from the config's seed."""
        return MalmenTrainer(lm, self.config)

    def values(self, lm: LanguageModel, signals: Signals) -> tuple[Tensor, Tensor]:
        """D, what the outputs should change by, shape (layers, n, d), and the ridge of each layer, shape (layers,)."""
        if lm.fingerprint not in self._nets:
            self.prepare(lm, [])
        net = self._nets[lm.fingerprint]
        return net.values(signals.keys, signals.gradients), net.ridge

    def _solve(self, lm: LanguageModel, requests: Sequence[EditRequest], signals: Signals) -> Edit:
        return ridge_edit(lm, self.config, self.name, requests, signals, *self.values(lm, signals))


def _network(lm: LanguageModel, config: MalmenConfig) -> Hypernetwork:
    return Hypernetwork(len(config.layers), lm.map.f, lm.map.d, config.rank, config.blocks, config.eta, config.seed)


@dataclass(frozen=True, eq=False)
class _Reading:
    """What training needs of a case, none of which depends on the network. First question: the rephrased prompt."""

    signals: Signals
    questions: tuple[Question, ...]

    @property
    def nbytes(self) -> int:
        """Size in main memory."""
        own = self.signals.keys.nbytes + self.signals.gradients.nbytes
        return own + sum(question.nbytes for question in self.questions)


class _Wanted(NamedTuple):
    """A question that is still to be read; ``kept``: of how many of its last tokens the prediction must stay."""

    ids: tuple[int, ...]
    target: tuple[int, ...]
    kept: int


class _Row(NamedTuple):
    """A question, the edit under which it is asked, and its weight in the loss."""

    question: Question
    edit: int
    weight: float


class MalmenTrainer(Trainer):
    """MALMEN's training: a step runs the layers from the lowest edited one on, and nothing below.

    What the unedited model computes below, the signals, and the neighbours' answers are read once for a case.

    Args:
        lm: The model; it is never changed.
        config: Of the method.

    Source: MALMEN, algorithm 1; the neighbours' answers are the unedited model's own, as in the benchmark.
    """

    def __init__(self, lm: LanguageModel, config: MalmenConfig) -> None:
        self.parameters = self._net = _network(lm, config).to(home_of(lm, config.layers))
        self.schedule = Schedule(
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            steps=config.steps,
            validate_every=config.validate_every,
            clip=config.clip,
            patience=config.patience,
        )
        self._lm, self._config = lm, config
        self._readings: OrderedDict[Case, _Reading] = OrderedDict()

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Adam's parameter groups: the step size has a learning rate of its own, relative to where it starts."""
        relative = self._config.eta_learning_rate / self._config.eta
        others = [value for name, value in self._net.named_parameters() if name != "rate"]
        return [{"params": others}, {"params": [self._net.rate], "lr": relative}]

    def begin(self, cases: Sequence[Case], track: Track = untracked) -> None:
        """Read the cases, as many as may be kept."""
        starts = range(0, len(cases), BATCH)
        for start in track(starts, "reading the cases", len(starts)):
            if self._kept_bytes() < KEPT_BYTES:
                self._read(cases[start : start + BATCH])

    def loss(self, cases: Sequence[Case]) -> float:
        """Mean loss of the cases under the edit, or the edits, they make; the statistics learn of them first."""
        readings = self._read(cases)
        self._net.normaliser.update(torch.cat([reading.signals.joined for reading in readings], 1))
        together = self._config.together
        edits = self._predict([reading.signals for reading in readings], together)
        total = 0.0
        for part in self._parts(readings, [0 if together else row for row in range(len(cases))]):
            with torch.enable_grad():
                loss = self._part_loss(edits, part)
            loss.backward()
            total += float(loss.detach())
        edits.backward()
        return total

    @torch.no_grad()
    def validation_loss(self, cases: Sequence[Case]) -> float:
        """Mean loss of the cases, each under an edit of its own: that is how methods are evaluated."""
        readings = self._read(cases)
        edits = self._predict([reading.signals for reading in readings], together=False)
        return sum(float(self._part_loss(edits, part)) for part in self._parts(readings, range(len(cases))))

    def facts(self) -> dict[str, Any]:
        """The learned step size and ridge of each layer."""
        return {"eta": self._net.eta.tolist(), "ridge": self._net.ridge.tolist()}

    def _predict(self, signals: Sequence[Signals], together: bool) -> PredictedEdits:
        groups = [pooled(signals)] if together else signals
        width, home = max(group.keys.shape[1] for group in groups), self._net.rate.device

        def stacked(tensors: Sequence[Tensor]) -> Tensor:
            return torch.stack([pad_tensor(one, (0, 0, 0, width - one.shape[1])) for one in tensors]).to(home)

        keys, gradients = ([getattr(group, name) for group in groups] for name in ("keys", "gradients"))
        return PredictedEdits(self._net, stacked(keys), stacked(gradients))

    def _parts(self, readings: Sequence[_Reading], under: Sequence[int]) -> list[list[_Row]]:
        """What the edited model is asked, in parts of similar length. Every case counts the same."""
        rows = []
        for reading, edit in zip(readings, under, strict=True):
            first, *neighbours = reading.questions
            rows.append(_Row(first, edit, 1 / len(readings)))
            share = self._config.locality / max(1, len(neighbours)) / len(readings)
            rows += [_Row(question, edit, share) for question in neighbours]
        rows.sort(key=lambda row: len(row.question.ids))
        return [rows[start : start + PART_ROWS] for start in range(0, len(rows), PART_ROWS)]

    def _part_loss(self, edits: PredictedEdits, rows: Sequence[_Row]) -> Tensor:
        questions, under = [row.question for row in rows], [row.edit for row in rows]
        losses = question_losses(self._lm, self._config.layers, edits, questions, under)
        return (torch.tensor([row.weight for row in rows]).to(losses) * losses).sum()

    def _kept_bytes(self) -> int:
        return sum(reading.nbytes for reading in self._readings.values())

    @torch.no_grad()
    def _read(self, cases: Sequence[Case]) -> list[_Reading]:
        """The readings of the cases; those that are not kept are read in one batch."""
        missing = [case for case in dict.fromkeys(cases) if case not in self._readings]
        if missing:
            signals = read_signals(self._lm, [case.request for case in missing], self._config.layers)
            for case, one, questions in zip(missing, signals, self._read_questions(missing), strict=True):
                self._readings[case] = _Reading(one.to(torch.device("cpu")), questions)
        found = [self._readings[case] for case in cases]
        for case in cases:
            self._readings.move_to_end(case)
        while self._kept_bytes() > KEPT_BYTES:
            self._readings.popitem(last=False)
        return found

    def _read_questions(self, cases: Sequence[Case]) -> list[tuple[Question, ...]]:
        lm = self._lm
        answers = iter(self._answers([prompt for case in cases for prompt in case.neighbour_prompts]))
        wanted: list[_Wanted] = []
        for case in cases:
            target = lm.encode_target(case.rephrased_prompt, case.target)
            wanted.append(_Wanted((*lm.encode(case.rephrased_prompt), *target[:-1]), tuple(target), 0))
            for prompt in case.neighbour_prompts:
                answer = next(answers)
                wanted.append(_Wanted((*lm.encode(prompt), *answer), (), len(answer) + 1))
        questions = iter(self._run(wanted))
        return [tuple(next(questions) for _ in range(1 + len(case.neighbour_prompts))) for case in cases]

    def _answers(self, prompts: Sequence[str]) -> list[list[int]]:
        """What the unedited model says, greedily, up to the token before the last that is scored."""
        if not prompts or self._config.kept_tokens == 1:
            return [[] for _ in prompts]
        jobs = [Continuation(row, 0, self._config.kept_tokens - 1) for row in range(len(prompts))]
        return generate(self._lm, read_prompts(self._lm, prompts), [Edit((), self._lm.fingerprint, "none")], jobs)

    def _run(self, wanted: Sequence[_Wanted]) -> list[Question]:
        lm, lowest = self._lm, self._config.layers[0]
        order = sorted(range(len(wanted)), key=lambda row: len(wanted[row].ids))
        found: dict[int, Question] = {}
        for start in range(0, len(order), PART_ROWS):
            rows = order[start : start + PART_ROWS]
            tokens = pad([wanted[row].ids for row in rows], lm.pad_id, lm.device, "left")
            run = run_layers(lm, tokens, None, lowest, lm.map.depth - 1)
            for place, row in enumerate(rows):
                ids, target, kept = wanted[row]
                entering = run.entering[lowest][place, -len(ids) :].cpu().clone()
                leaving = run.output[place, -kept:].cpu().clone() if kept else None
                found[row] = Question(ids, entering, target, leaving)
        return [found[row] for row in range(len(wanted))]

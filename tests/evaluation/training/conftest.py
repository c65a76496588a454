"""A regression of a few numbers on case ids, trained as an editor is, and the cases to train it on."""

import zlib
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from clmeeval_data.evaluation.editors.contract import Case, EditorConfig, untracked
from clmeeval_data.evaluation.editors.trained import Schedule, Trainer
from clmeeval_data.evaluation.training import train_editor


class Net(nn.Module):
    """Two parameters of different learning rates, dropout, and a buffer that training moves."""

    def __init__(self, dropout):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.slow = nn.Parameter(torch.randn(6, generator=generator))
        self.fast = nn.Parameter(torch.randn(6, generator=generator))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))
        self.dropout = nn.Dropout(dropout)

    def forward(self, cases):
        inputs = features(cases)
        return (self.dropout(inputs) * self.slow).sum(-1) + (inputs * self.fast).sum(-1).square()


def features(cases):
    """Numbers that only the case's id determines."""
    seeds = [zlib.crc32(case.case_id.encode()) for case in cases]
    return torch.stack([torch.randn(6, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


class Regression(Trainer):
    """Fits a constant; ``script`` replaces the validation losses by given ones."""

    def __init__(self, schedule, dropout=0.0, script=None, fast_rate=None):
        self.parameters, self.schedule = Net(dropout), schedule
        self.batches, self.drawn, self.begun, self.script, self.fast_rate = [], [], [], script, fast_rate

    @property
    def groups(self):
        if self.fast_rate is None:
            return super().groups
        return [{"params": [self.parameters.slow]}, {"params": [self.parameters.fast], "lr": self.fast_rate}]

    def begin(self, cases, track=untracked):
        self.begun = list(cases)

    def _loss(self, cases):
        return (self.parameters(cases) - 3.0).square().mean()

    def loss(self, cases):
        assert self.parameters.training
        self.batches.append([case.case_id for case in cases])
        self.parameters.seen += len(cases)
        self.drawn.append(float(torch.rand(())))
        loss = self._loss(cases)
        loss.backward()
        return float(loss.detach())

    @torch.no_grad()
    def validation_loss(self, cases):
        assert not self.parameters.training
        return float(self._loss(cases)) if self.script is None else self.script.pop(0)

    def facts(self):
        return {"seen": float(self.parameters.seen), "training": self.parameters.training}

    def validation_facts(self, cases):
        return {"held": [case.case_id for case in cases]}


@dataclass(frozen=True)
class Config(EditorConfig):
    rate: float = 0.05


class Editor:
    """Keeps the trainers that it was asked for."""

    name = "regression"
    needs_training = True
    config_class = Config
    trainer_class = Regression

    def __init__(self, schedule=None, config=None, **options):
        self.config, self.options = config or Config(), options
        self.schedule = schedule or Schedule(learning_rate=0.05, batch_size=4, steps=30, validate_every=5)
        self.trainers = []

    def trainer(self, lm):
        self.trainers.append(self.trainer_class(self.schedule, **self.options))
        return self.trainers[-1]


def cases_of(numbers):
    return [
        Case(
            f"case{i}", f"Intent: add {i}\nCode:", f"Intent: plus {i}\nCode:", f"x += {i}", (f"Intent: sub {i}\nCode:",)
        )
        for i in numbers
    ]


@pytest.fixture(scope="session")
def make_editor():
    """The class of the editor that is trained: its arguments are a schedule, a config, and those of its trainer."""
    return Editor


@pytest.fixture
def net():
    """What is trained, in its first state."""
    return Net(0.0)


@pytest.fixture(scope="session")
def lm(make_lm):
    return make_lm("llama")


@pytest.fixture(scope="session")
def cases():
    """Ten cases to learn from."""
    return cases_of(range(10))


@pytest.fixture(scope="session")
def held():
    """Six cases to validate on."""
    return cases_of(range(100, 106))


@pytest.fixture(scope="session")
def run(lm, cases, held):
    """A function that trains an editor, with this model and on these cases unless others are given."""

    def train(editor, out, **options):
        given = {"lm": lm, "cases": cases, "validation": held, "dataset_facts": {"name": "cnle"}, **options}
        return train_editor(editor=editor, out=out, **given)

    return train

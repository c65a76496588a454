"""A cache of its own for every test, and forty-one texts to collect key statistics over."""

import pytest

from clmeeval_data.evaluation.model import corpus as corpus_module
from clmeeval_data.evaluation.model import statistics
from clmeeval_data.evaluation.model.corpus import corpus_of_texts


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Every test has a cache of its own."""
    monkeypatch.setenv("CLMEEVAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "statistics"


@pytest.fixture
def small_parts(monkeypatch):
    """Many windows, many batches, and a checkpoint after every window."""
    monkeypatch.setattr(corpus_module, "WINDOW_TOKENS", 64)
    monkeypatch.setattr(corpus_module, "BATCH_TOKENS", 48)
    monkeypatch.setattr(statistics, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(statistics, "CHECKPOINT_SHARE", 0)


@pytest.fixture(scope="session")
def texts(sample_rows):
    """Forty-one texts of very different lengths, one of them empty."""
    rows = sample_rows[:40]
    found = [f"Intent: {row['intent']}\nCode: {row['snippet']}" * (1 + 3 * (i % 7 == 0)) for i, row in enumerate(rows)]
    return [*found[:5], "", *found[5:]]


@pytest.fixture(scope="session")
def corpus(texts):
    return corpus_of_texts("sample", texts)


@pytest.fixture(scope="session")
def relative_error():
    """A function that tells how far a matrix is from the expected one, as a share of the latter's norm."""

    def error(found, expected):
        return float((found.double() - expected.double()).norm() / expected.double().norm())

    return error

"""The algebra on C: solving, the ridge of a singular C, and the directions that keys hardly use."""

import logging

import pytest
import torch

from clmeeval_data.errors import EditError
from clmeeval_data.evaluation.model.statistics import RIDGES, KeyStatistics, key_statistics

F = 64


@pytest.fixture
def well_posed(tiny_lm, corpus):
    found = key_statistics(tiny_lm, corpus, [1], 100_000)[1]
    assert found.count > 2 * F
    return found


def made_up(count=500, f=40, rank=40):
    keys = torch.randn(count, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    keys = keys @ torch.randn(rank, f, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moment = (keys.T @ keys / count).float()
    return KeyStatistics(3, count, (moment + moment.T) / 2)


def test_solve_equals_a_dense_solve(well_posed, relative_error):
    keys = torch.randn(F, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    truth = torch.linalg.solve(well_posed.second_moment.double(), keys)
    found = well_posed.solve(keys)
    assert found.dtype == torch.float64
    assert relative_error(found, truth) < 1e-9
    assert (
        relative_error(
            well_posed.solve(keys.float()), torch.linalg.solve(well_posed.regularised, keys.float().double())
        )
        < 1e-9
    )
    assert well_posed.ridge == 0.0
    assert torch.equal(well_posed.regularised, well_posed.second_moment.double())


def test_the_factor_is_computed_once(monkeypatch):
    calls = []
    real = torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda matrix: [calls.append(matrix), real(matrix)][1])
    found = made_up()
    for _ in range(3):
        found.solve(torch.ones(40, 1))
        found.ridge  # noqa: B018
        found.regularised  # noqa: B018
    assert len(calls) == 1
    assert calls[0].dtype == torch.float64


@pytest.mark.parametrize(("count", "rank"), [(30, 40), (39, 40), (500, 25)])
def test_a_singular_second_moment_gets_a_ridge(count, rank, caplog, relative_error):
    found = made_up(count=count, rank=rank)
    with caplog.at_level(logging.WARNING):
        ridge = found.ridge
    mean = float(found.second_moment.diagonal().double().mean())
    assert f"layer 3: C of {count} tokens is singular (f = 40); a ridge of {ridge:.3g}" in caplog.text
    assert any(ridge == pytest.approx(relative * mean) for relative in RIDGES)
    assert ridge < 1e-4 * mean
    added = found.regularised - found.second_moment.double()
    assert torch.allclose(added, ridge * torch.eye(40, dtype=torch.float64), rtol=1e-6, atol=0)
    keys = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    solved = found.solve(keys)
    assert relative_error(found.regularised @ solved, keys) < 1e-6
    assert relative_error(solved, torch.linalg.solve(found.regularised, keys)) < 1e-6
    smaller = ridge / 10
    lowest = torch.linalg.eigvalsh(found.second_moment.double())[0]
    assert RIDGES[0] * mean > smaller or float(lowest) < -smaller / 2, "a smaller ridge would have done"


def test_a_ridge_is_more_than_what_rounding_took_away():
    rounded = KeyStatistics(0, 3, torch.diag(torch.tensor([1.0, 1.0, 1.0, -0.7e-10])))
    assert RIDGES[0] * 0.75 > 0.7e-10, "the smallest ridge would make it positive definite, barely"
    assert rounded.ridge == pytest.approx(RIDGES[1] * 0.75)


def test_a_second_moment_of_nothing_cannot_be_factored():
    for value in (0.0, float("nan")):
        with pytest.raises(EditError, match="key statistics of layer 7 cannot be factored"):
            KeyStatistics(7, 100, torch.full((4, 4), value)).solve(torch.ones(4, 1))


def test_the_null_space_is_what_keys_hardly_use(well_posed):
    moment = well_posed.second_moment.double()
    values = torch.linalg.eigvalsh(moment)
    for place in (1, F // 2, F - 1):
        threshold = float(values[place - 1] + values[place]) / 2
        basis = well_posed.null_space(threshold)
        assert basis.shape == (F, place)
        assert basis.dtype == torch.float64
        assert torch.allclose(basis.T @ basis, torch.eye(place, dtype=torch.float64), atol=1e-12)
        assert ((moment @ basis).norm(dim=0) < threshold * basis.norm(dim=0)).all()
        combined = basis @ torch.randn(place, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert ((moment @ combined).norm(dim=0) < threshold * combined.norm(dim=0)).all()
    assert well_posed.null_space(0.0).shape == (F, int((values < 0).sum()))
    assert well_posed.null_space(1e9).shape == (F, F)


def test_the_eigenvectors_are_computed_once(monkeypatch):
    calls = []
    real = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: [calls.append(matrix), real(matrix)][1])
    found = made_up()
    for threshold in (1.0, 1.0, 5.0):
        found.null_space(threshold)
    assert len(calls) == 1

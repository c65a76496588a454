"""Splits and limits: by hash, so that other rows change nothing."""

from collections import Counter
from itertools import pairwise

import pytest

from clmeeval_data.builders.recipes import RECIPES
from clmeeval_data.builders.splits import SMALLEST_LIMIT, choose, split_of
from clmeeval_data.errors import ConfigError, UnknownNameError

SHARES = {"train": 0.35, "validation": 0.15, "test": 0.5}
IDS = {split: [f"{split}-{i}" for i in range(100)] for split in SHARES}


def test_shares_are_met_on_average():
    counts = Counter(split_of(f"group {i}", 0, SHARES) for i in range(10_000))
    assert {split: pytest.approx(share * 10_000, rel=0.06) for split, share in SHARES.items()} == counts


def test_a_group_keeps_its_split_and_another_seed_moves_some():
    groups = [f"group {i}" for i in range(200)]
    first = [split_of(group, 0, SHARES) for group in groups]
    assert first == [split_of(group, 0, SHARES) for group in groups]
    assert first != [split_of(group, 1, SHARES) for group in groups]


def test_a_split_without_a_share_stays_empty():
    shares = {"train": 0.0, "validation": 0.0, "test": 1.0}
    assert {split_of(f"{i}", 0, shares) for i in range(100)} == {"test"}


@pytest.mark.parametrize("limit", [10, 11, 60, 299, 300])
def test_a_limit_is_met_exactly_and_by_share(limit):
    kept = Counter(name.partition("-")[0] for name in choose(IDS, SHARES, limit, 0))
    assert kept.total() == limit
    if limit <= 60:
        assert all(abs(kept[split] - share * limit) <= 1 for split, share in SHARES.items())


def test_a_larger_limit_keeps_what_a_smaller_one_keeps():
    kept = [choose(IDS, SHARES, limit, 0) for limit in (10, 20, 57, 200)]
    assert all(smaller < larger for smaller, larger in pairwise(kept))
    assert choose(IDS, SHARES, 20, 1) != kept[1]


def test_no_limit_keeps_all_and_a_limit_beyond_it_too():
    everything = {name for names in IDS.values() for name in names}
    assert choose(IDS, SHARES, None, 0) == choose(IDS, SHARES, 1000, 0) == everything


def test_what_one_split_lacks_goes_to_the_others():
    ids = {**IDS, "test": ["test-0"]}
    kept = Counter(name.partition("-")[0] for name in choose(ids, SHARES, 40, 0))
    assert kept["test"] == 1
    assert kept.total() == 40


@pytest.mark.parametrize("limit", [9, 3, 1, 0, -5])
def test_a_limit_too_small_for_three_splits_is_refused(limit):
    with pytest.raises(ConfigError, match=f"--limit {limit} is too small for three splits. .*{SMALLEST_LIMIT}"):
        choose(IDS, SHARES, limit, 0)


def test_an_empty_split_is_refused():
    with pytest.raises(ConfigError, match=r"the validation split would be empty \(train 100, validation 0, test 100\)"):
        choose({**IDS, "validation": []}, SHARES, None, 0)


def test_recipes_are_named():
    from clmeeval_data.builders.recipes import recipe_named

    assert recipe_named("cnle-sample") is RECIPES["cnle-sample"]
    with pytest.raises(UnknownNameError, match=r"unknown recipe 'nope'. Known: cnle, cnle-sample, csne, csne-sample"):
        recipe_named("nope")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_hold_what_they_need(name):
    import json

    from clmeeval_data.builders.closest import SCORERS
    from clmeeval_data.builders.sources import open_source
    from clmeeval_data.paraphrase.engine import ENGINES

    recipe = RECIPES[name]
    assert json.loads(json.dumps(recipe.as_dict()))["name"] == name == recipe.name
    assert sum(recipe.splits.values()) == pytest.approx(1)
    assert recipe.splits["test"] >= 0.2
    assert set(recipe.engines) <= set(ENGINES)
    assert recipe.locality.scorer in SCORERS
    assert [open_source(name, recipe.benchmark).name for name in recipe.sources] == list(recipe.sources)
    assert recipe.limits

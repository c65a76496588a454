"""Which split a group belongs to, and which cases a limit keeps: by hash, so that neither depends on the other rows."""

import hashlib
from collections.abc import Mapping, Sequence

from clmeeval_data.errors import ConfigError
from clmeeval_data.records import SPLITS

SMALLEST_LIMIT = 10


def split_of(group: str, seed: int, shares: Mapping[str, float]) -> str:
    """The split of a group: each falls to a split with that split's share as the probability.

    The answer depends on the group's name and the seed alone.
    """
    position = int.from_bytes(_digest(seed, group)[:8], "big") / 2**64 * sum(shares.values())
    for split in SPLITS:
        position -= shares[split]
        if position < 0:
            return split
    return SPLITS[-1]


def choose(ids: Mapping[str, Sequence[str]], shares: Mapping[str, float], limit: int | None, seed: int) -> set[str]:
    """The ids that a limit keeps: a fixed number of each split, those with the smallest hashes.

    So a larger limit keeps all that a smaller one keeps, as long as the source stays the same.

    Args:
        ids: The ids of each split.
        shares: The share of each split among the kept.
        limit: How many to keep over all splits; None keeps all.
        seed: Of the choice.

    Raises:
        ConfigError: If the limit is too small for three splits, or a split has no id at all.
    """
    if limit is not None:
        check_limit(limit)
    empty = [split for split in SPLITS if not ids.get(split)]
    if empty:
        counts = ", ".join(f"{split} {len(ids.get(split, ()))}" for split in SPLITS)
        raise ConfigError(
            f"the {' and '.join(empty)} split would be empty ({counts}): the source has too few usable rows. "
            "Use another --source or another --seed."
        )
    quotas = {split: len(ids[split]) for split in SPLITS} if limit is None else _quotas(ids, shares, limit)
    return {
        name for split in SPLITS for name in sorted(ids[split], key=lambda name: _digest(seed, name))[: quotas[split]]
    }


def check_limit(limit: int) -> None:
    """A limit leaves room for three splits.

    Raises:
        ConfigError: If it doesn't.
    """
    if limit < SMALLEST_LIMIT:
        raise ConfigError(
            f"--limit {limit} is too small for three splits. Expected at least {SMALLEST_LIMIT}, or no --limit for all."
        )


def _quotas(ids: Mapping[str, Sequence[str]], shares: Mapping[str, float], limit: int) -> dict[str, int]:
    """How many of each split make up the limit: by share, at least one, and what one split lacks goes to the others."""
    quotas = {split: 1 for split in SPLITS}
    for _ in range(min(limit, sum(map(len, ids.values()))) - len(SPLITS)):
        open_splits = [split for split in SPLITS if quotas[split] < len(ids[split])]
        neediest = max(open_splits, key=lambda split: shares[split] * limit - quotas[split])
        quotas[neediest] += 1
    return quotas


def _digest(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{text}".encode("utf-8", "replace")).digest()

"""A flipped bit or a cut file is found on restore, or harms no value (see flips.py)."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.durability import flips
from tests.durability.flips import DAMAGES, KINDS, ROUTES, Kind, Laboratory

_EACH = 40
# Beyond that, as many of each as fit in this time.
_LIMIT_SECS = 1.2


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("flips") / "runs")


@pytest.mark.parametrize(
    ("version", "route"), [(version, route) for version in ROUTES for route in ROUTES[version]]
)
def test_without_damage_nothing_is_said(laboratory: Laboratory, version: str, route: str) -> None:
    assert laboratory.sound(version, ROUTES[version][route]) == "harmless"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_damage_is_silent(laboratory: Laboratory, kind: Kind, damage: str) -> None:
    found: Counter[str] = Counter()
    silent = []
    until = time.monotonic() + _LIMIT_SECS
    seed = 0
    while seed < _EACH or time.monotonic() < until:
        outcome = laboratory.damage(kind, damage, seed)
        found[outcome] += 1
        if outcome == "silent":
            silent.append(seed)
        seed += 1
    assert not silent, f"of {seed}"
    assert found["detected"] >= seed // 8  # a state has much that nobody needs


def test_without_checksums_flips_are_silent(laboratory: Laboratory) -> None:
    """So this test can fail: read unverified, some flips of data give other values."""
    found = Counter(
        laboratory.damage(KINDS[0], "bit flip", seed, flips.UNVERIFIED) for seed in range(40)
    )
    assert found["silent"] > 0

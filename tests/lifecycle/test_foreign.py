from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.lifecycle import foreign, leaves


@pytest.mark.parametrize("value", [1, "a", None, np.zeros(1), np.float32(1), [], object()])
def test_what_is_no_frameworks_has_no_adapter(value: Any) -> None:
    assert foreign.adapter_of(value) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("torch", True),
        ("torch:generator:cpu", True),
        ("jax", True),
        ("jax:key:rbg", True),
        ("torches", False),
        ("jaxlib", False),
        ("array", False),
        ("array:str", False),
        ("", False),
    ],
)
def test_kinds(kind: str, expected: object) -> None:
    assert foreign.is_foreign(kind) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("jax:key:rbg", "jax:key:unsafe_rbg", True),
        ("jax:key:rbg", "torch:generator:cpu", True),
        ("jax:key:rbg", "jax:key:rbg", False),
        ("jax:key:rbg", "jax", False),
        ("jax", "torch", False),
        ("array:str", "jax:key:rbg", False),
    ],
)
def test_contradictions(one: str, other: str, expected: object) -> None:
    assert foreign.contradict(one, other) is expected
    assert foreign.contradict(other, one) is expected


@pytest.mark.parametrize("kind", ["torch", "torch:generator:cpu", "jax", "jax:key:rbg"])
def test_a_process_without_the_framework_gets_the_array(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for framework in ("torch", "jax"):
        monkeypatch.delitem(sys.modules, framework, raising=False)
    array = np.arange(3)
    assert leaves.decode_leaf(kind, array) is array
    assert not {"torch", "jax"} & sys.modules.keys()


@pytest.mark.parametrize("kind", ["torches", "keras:key", "object"])
def test_an_unknown_kind_is_damage(kind: str) -> None:
    with pytest.raises(errors.MalformedMetadata, match=f"expected {kind}"):
        leaves.decode_leaf(kind, np.zeros(()))

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import ckptmgr
from ckptmgr import errors


def draws() -> list[float]:
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),  # noqa: NPY002 - what is tested
        float(np.random.randn()),  # noqa: NPY002
    ]


def test_parts_and_global_generators_go_on_where_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    state = ckptmgr.RunState(model={"w": np.zeros(2)}, rng=rng, step=0)
    draws()  # half of a pair of normal numbers is kept in each generator
    state.step = 5
    state.model["w"][:] = 3
    ckptmgr.CheckpointManager(state, tmp_path).save(5)
    expected = [*draws(), rng.random()]

    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    other = ckptmgr.RunState(model={"w": np.zeros(2)}, rng=np.random.default_rng(9), step=0)
    restored = ckptmgr.CheckpointManager(other, tmp_path).restore()
    assert restored is not None
    assert restored.state is other
    assert (other.step, other["step"], other.model["w"].tolist()) == (5, 5, [3, 3])
    assert [*draws(), other.rng.random()] == expected


def test_what_is_not_a_part() -> None:
    with pytest.raises(errors.InvalidArgument, match="'random' of a RunState"):
        ckptmgr.RunState(random=1)
    with pytest.raises(AttributeError, match="the run state has no part 'modle'"):
        _ = ckptmgr.RunState(model=1).modle

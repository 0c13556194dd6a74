"""Every error class has a crafted file that makes it, or a reason why none can."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest

from ckptmgr import errors
from ckptmgr.lifecycle.manager import CheckpointManager
from tests.hostile.crafted import CRAFTED, NOT_FROM_A_FILE, make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", CRAFTED, ids=lambda kind: kind.__name__)
def test_a_crafted_file(run: Path, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    craft, parts = CRAFTED[kind]
    call = craft(run)
    if kind is errors.MissingExtra:
        monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(errors.CheckpointError) as raised:
        call()
    assert type(raised.value) is kind
    assert [part for part in parts if part not in str(raised.value)] == [], str(raised.value)


def test_the_run_is_sound_without_them(run: Path) -> None:
    restored = CheckpointManager(None, run).restore()
    assert restored is not None
    assert restored.state["w"].tolist() == [0, 1, 2, 3]
    assert restored.state["s"].tolist() == [b"one", b"three"]


def test_every_error_class_is_accounted_for() -> None:
    """But the roots; those of graphs have tests of their own, where graphs are read."""
    source = inspect.getsource(errors)
    of_graphs = re.search(r"# -+ graphs and models\n(.*?)\n# -{20}", source, re.DOTALL)
    others = source.replace(of_graphs.group(1), "") if of_graphs else source
    names = re.findall(r"^class (\w+)\(", others, re.MULTILINE)
    assert len(names) > 30
    crafted = {kind.__name__ for kind in CRAFTED}
    assert set(names) == crafted | set(NOT_FROM_A_FILE)
    assert not crafted & set(NOT_FROM_A_FILE)

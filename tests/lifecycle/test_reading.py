from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import errors


def test_the_state_of_a_directory_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ckptmgr.Saver({"w": np.zeros(2)}).save("run/m", 1)
    message = "^run/checkpoint is the checkpoint state of its directory; give 'run'$"
    with pytest.raises(errors.CheckpointNotFound, match=message):
        ckptmgr.load_checkpoint("run/checkpoint")
    assert ckptmgr.list_variables("run") == [("w", [2])]


def test_the_name_of_a_variable(tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    ckptmgr.Saver({"w": np.ones(2)}).save(prefix)
    names: list[Any] = ["w", "w:0", b"w"]
    for name in names:
        assert ckptmgr.load_variable(prefix, name).tolist() == [1, 1]
    no_name: Any = 3
    with pytest.raises(errors.InvalidArgument, match="the name of a tensor must be a str, found 3"):
        ckptmgr.load_variable(prefix, no_name)


def test_a_checkpoint_may_be_called_as_a_state(tmp_path: Path) -> None:
    prefix = str(tmp_path / "checkpoint")
    ckptmgr.Saver({"w": np.zeros(2)}).save(prefix, latest_filename="newest")
    (tmp_path / "checkpoint").write_text("")
    assert ckptmgr.list_variables(prefix) == [("w", [2])]

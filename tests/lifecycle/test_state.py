from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ckptmgr
from ckptmgr import errors


@pytest.mark.parametrize("paths", ["m-1", b"m-1", Path("m-1")])
def test_one_path_is_no_list_of_them(tmp_path: Path, paths: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="checkpoint_prefixes must be a list of paths"):
        ckptmgr.get_checkpoint_mtimes(paths)
    message = "all_model_checkpoint_paths must be a list of paths, found .*m-1"
    with pytest.raises(errors.InvalidArgument, match=message):
        ckptmgr.update_checkpoint_state(tmp_path, "m-1", paths)
    assert not (tmp_path / "checkpoint").exists()

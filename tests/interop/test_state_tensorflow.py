"""The `checkpoint` file and the functions around it, TensorFlow's and ours side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ckptmgr

_paths = st.sampled_from(
    ["m-1", "m-2", "sub/m-3", "/abs/m-4", "/abs/m-5", "DIR/m-6", 'quo"te\n', "déjà-7", "a b"]
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    latest=_paths,
    others=st.lists(_paths, max_size=4),
    stamped=st.booleans(),
    last_preserved=st.one_of(st.none(), st.floats(0, 2e9)),
    relative_directory=st.booleans(),
)
def test_the_same_file_is_written(
    tf: Any,
    tmp_path: Path,
    latest: str,
    others: list[str],
    stamped: bool,
    last_preserved: float | None,
    relative_directory: bool,
) -> None:
    from tensorflow.python.checkpoint import checkpoint_management

    directory = tmp_path / "run"
    directory.mkdir(exist_ok=True)
    save_dir = os.path.relpath(directory) if relative_directory else str(directory)
    latest, *others = [path.replace("DIR", save_dir) for path in (latest, *others)]
    count = len(others) + (not others or others[-1] != latest)
    timestamps = [1.5 + 0.1 * n for n in range(count)] if stamped else None
    written = []
    for update in (checkpoint_management.update_checkpoint_state, ckptmgr.update_checkpoint_state):
        update(
            save_dir,
            latest,
            list(others),
            all_model_checkpoint_timestamps=timestamps,
            last_preserved_timestamp=last_preserved,
        )
        written.append((directory / "checkpoint").read_bytes())
    assert written[0] == written[1]
    theirs, ours = tf.train.get_checkpoint_state(save_dir), ckptmgr.get_checkpoint_state(save_dir)
    assert ours is not None
    assert ours.model_checkpoint_path == theirs.model_checkpoint_path
    assert list(ours.all_model_checkpoint_paths) == list(theirs.all_model_checkpoint_paths)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b'model_checkpoint_path: "m-1"',
        b"model_checkpoint_path: 'm-1' # a comment\n",
        b'model_checkpoint_path: "/abs/m-1" all_model_checkpoint_paths: ["m-0", "m-1"]',
        b'model_checkpoint_path: "m-1"\nfrom_the_future: 3\n',
        b'all_model_checkpoint_paths: "m-1"',
        b'model_checkpoint_path: ""',
        b'model_checkpoint_path: "d\\303\\251"',
        'model_checkpoint_path: "dé"'.encode(),
        b'model_checkpoint_path: "m-1" last_preserved_timestamp: 1e3',
    ],
)
def test_the_same_is_made_of_any_file(tf: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint").write_bytes(content)
    results: list[Any] = []
    for read in (tf.train.get_checkpoint_state, ckptmgr.get_checkpoint_state):
        try:
            state = read(str(tmp_path))
        except ValueError:
            results.append("ValueError")
        except ckptmgr.errors.MalformedState:
            results.append("ValueError")
        else:
            results.append(
                state
                and (
                    state.model_checkpoint_path,
                    list(state.all_model_checkpoint_paths),
                    list(state.all_model_checkpoint_timestamps),
                    state.last_preserved_timestamp,
                )
            )
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["m-1.index", "m-1.data-00000-of-00001"],
        ["m-1"],
        ["m-1.data-00000-of-00001"],
        ["m-1-00000-of-00002", "m-1-00001-of-00002"],
    ],
)
@pytest.mark.parametrize("prefix", ["m-1", "m-1.index", "m-1-?????-of-00002", "m-2"])
def test_the_same_exists(tf: Any, tmp_path: Path, files: list[str], prefix: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    path = str(tmp_path / prefix)
    exists = tf.compat.v1.train.checkpoint_exists(path)
    assert ckptmgr.checkpoint_exists(path) == exists
    mtimes = tf.compat.v1.train.get_checkpoint_mtimes([path, path])
    assert ckptmgr.get_checkpoint_mtimes([path, path]) == mtimes
    ckptmgr.update_checkpoint_state(tmp_path, path)
    assert ckptmgr.latest_checkpoint(tmp_path) == tf.train.latest_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "prefix"),
    [
        (["m-1.index", "m-1.data-00000-of-00001", "m-1.meta", "m-10.index"], "m-1"),
        (["m-1.index", "m-1.data-00000-of-00002", "m-1.data-00001-of-00002"], "m-1"),
        (["m-2.index"], "m-1"),
        (["m-1.meta"], "m-1"),
    ],
)
def test_the_same_is_removed(tf: Any, tmp_path: Path, files: list[str], prefix: str) -> None:
    left = []
    for name, remove in (
        ("theirs", tf.compat.v1.train.remove_checkpoint),
        ("ours", ckptmgr.remove_checkpoint),
    ):
        directory = tmp_path / name
        directory.mkdir()
        for file in files:
            (directory / file).touch()
        remove(str(directory / prefix))
        left.append(sorted(os.listdir(directory)))
    assert left[0] == left[1]

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.errors import InvalidName, MalformedState
from ckptmgr.formats.checkpoint_state import (
    CheckpointState,
    decode_checkpoint_state,
    encode_checkpoint_state,
)

FULL = """\
model_checkpoint_path: "model.ckpt-2"
all_model_checkpoint_paths: "model.ckpt-1"
all_model_checkpoint_paths: "model.ckpt-2"
all_model_checkpoint_timestamps: 1795150343.8885238
all_model_checkpoint_timestamps: 3.0
last_preserved_timestamp: 1795150340.5
"""
ESCAPED = """\
model_checkpoint_path: "/läufe/模型-1"
all_model_checkpoint_paths: "a\\"b\\\\c\\n\\t\\'"
"""
# Every state here is encoded to these bytes and decoded from them.
CASES = [
    (CheckpointState(""), b""),
    (CheckpointState("a"), b'model_checkpoint_path: "a"\n'),
    (
        CheckpointState(
            "model.ckpt-2",
            ("model.ckpt-1", "model.ckpt-2"),
            (1795150343.8885238, 3.0),
            1795150340.5,
        ),
        FULL.encode(),
    ),
    (CheckpointState("/läufe/模型-1", ("a\"b\\c\n\t'",)), ESCAPED.encode()),
]
STATES = st.builds(
    CheckpointState,
    st.text(),
    st.lists(st.text(), max_size=4).map(tuple),
    st.lists(st.floats(allow_nan=False), max_size=4).map(tuple),
    st.floats(allow_nan=False),
)


@pytest.mark.parametrize(("state", "encoded"), CASES)
def test_encode_and_decode(state: CheckpointState, encoded: bytes) -> None:
    assert encode_checkpoint_state(state) == encoded
    assert decode_checkpoint_state(encoded) == state


@given(STATES)
def test_round_trip(state: CheckpointState) -> None:
    assert decode_checkpoint_state(encode_checkpoint_state(state)) == state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("model_checkpoint_path: 'a'  # why", CheckpointState("a")),
        ('all_model_checkpoint_paths: ["a", "b"]', CheckpointState("", ("a", "b"))),
        ('model_checkpoint_path: "l\\303\\244uft"', CheckpointState("läuft")),
        ('model_checkpoint_path: "a" "b"', CheckpointState("ab")),
        ('model_checkpoint_path: "a"\nmodel_checkpoint_path: "b"', CheckpointState("b")),
        ("last_preserved_timestamp: 3", CheckpointState("", last_preserved_timestamp=3.0)),
    ],
)
def test_other_spellings_that_tensorflow_reads(text: str, state: CheckpointState) -> None:
    assert decode_checkpoint_state(text.encode()) == state


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'model_checkpoint_path: "a"\nfoo: 3', "line 2 .*no field named \"foo\".*found 'foo: 3'"),
        (b'model_checkpoint_path: "a', "line 1 .*quote.*found 'model_checkpoint_path: \"a'"),
        (b"\n\nmodel_checkpoint_path: 3\n", "line 3 .*found 'model_checkpoint_path: 3'"),
        (b"model_checkpoint_path", "line 1 .*found 'model_checkpoint_path'"),
        (b'model_checkpoint_path: "\\377"', "line 1 "),
        (b"last_preserved_timestamp: soon", "line 1 .*soon"),
        (b'model_checkpoint_path: "a"\n\xff: 1', "line 2 .*expected UTF-8, found b'.xff: 1'"),
        (b"\x00\x01", "line 1 "),
        (b"[ckptmgr.x]: 1", "line 1 "),
        (b"x" * 10_000, "line 1 .*found 'x{120}'$"),
    ],
)
def test_damaged(data: bytes, says: str) -> None:
    with pytest.raises(MalformedState, match=says):
        decode_checkpoint_state(data)


# Pieces of the grammar, so that examples get past the first token.
TOKENS = st.sampled_from(
    [
        *("model_checkpoint_path", "all_model_checkpoint_paths", "last_preserved_timestamp"),
        *("all_model_checkpoint_timestamps", ":", '"a"', "'", '"', "1.5", "-", "nan", "[", "]"),
        *(",", "{", "}", "<", ">", "#", "\n", " ", "\\", '"\\ud800"', '"\\777"', ";", "\r", "0x"),
    ]
)


@given(st.one_of(st.binary(), st.lists(TOKENS).map(lambda tokens: "".join(tokens).encode())))
def test_only_documented_errors_for_any_bytes(data: bytes) -> None:
    try:
        state = decode_checkpoint_state(data)
    except MalformedState as error:
        assert str(error).startswith("line ")  # noqa: PT017
    else:
        assert isinstance(state, CheckpointState)


def test_path_that_is_not_unicode() -> None:
    path = os.fsdecode(b"run-\xff")
    for state in (CheckpointState(path), CheckpointState("a", ("a", path))):
        with pytest.raises(InvalidName, match=r"UTF-8 only, which 'run-\\udcff' is not"):
            encode_checkpoint_state(state)


@pytest.mark.parametrize(
    "name",
    [
        "v2_saver/checkpoint",
        "v2_saver/checkpoint_rel",
        "obj_ckpt/checkpoint",
        "v1_ckpt/checkpoint_sharded",
    ],
)
def test_tensorflow_files(golden: Path, name: str) -> None:
    data = (golden / name).read_bytes()
    state = decode_checkpoint_state(data)
    assert state.model_checkpoint_path == state.all_model_checkpoint_paths[-1]
    assert encode_checkpoint_state(state) == data


@pytest.mark.parametrize(("state", "encoded"), CASES)
def test_tensorflow_encodes_the_same(tf: Any, state: CheckpointState, encoded: bytes) -> None:
    kind = type(tf.compat.v1.train.generate_checkpoint_state_proto("/run", "a"))
    message = kind(
        model_checkpoint_path=state.model_checkpoint_path,
        all_model_checkpoint_paths=state.all_model_checkpoint_paths,
        all_model_checkpoint_timestamps=state.all_model_checkpoint_timestamps,
        last_preserved_timestamp=state.last_preserved_timestamp,
    )
    # What TensorFlow itself calls to write the file.
    assert text_format.MessageToString(message).encode() == encoded


def test_tensorflow_writes_and_reads_the_same(tf: Any, tmp_path: Path) -> None:
    state = CheckpointState("ü-2", ("ü-1", "ü-2"), (1.0, 1795150343.8885238), 0.5)
    tf.compat.v1.train.update_checkpoint_state(
        str(tmp_path),
        state.model_checkpoint_path,
        list(state.all_model_checkpoint_paths),
        all_model_checkpoint_timestamps=list(state.all_model_checkpoint_timestamps),
        last_preserved_timestamp=state.last_preserved_timestamp,
    )
    written = (tmp_path / "checkpoint").read_bytes()
    assert encode_checkpoint_state(state) == written
    assert decode_checkpoint_state(written) == state

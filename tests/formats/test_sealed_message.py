"""The checksum in front of a message, and what becomes of files that begin with it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr.formats.sealed_message import SEAL_BYTES, seal, stored_checksum, unseal

MESSAGE = MetaGraphDef()
MESSAGE.meta_info_def.tags.append("serve")
MESSAGE.saver_def.restore_op_name = "save/restore_all"
CONTENT = MESSAGE.SerializeToString()


@given(st.binary())
def test_what_is_sealed_comes_back(message: bytes) -> None:
    assert unseal(seal(message)) == message


@pytest.mark.parametrize("bit", range(8 * (SEAL_BYTES + len(CONTENT))))
def test_every_flipped_bit_is_found(bit: int) -> None:
    damaged = bytearray(seal(CONTENT))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(errors.ChecksumMismatch):
        unseal(bytes(damaged))


@pytest.mark.parametrize("length", range(SEAL_BYTES + len(CONTENT)))
def test_every_cut_is_found(length: int) -> None:
    with pytest.raises((errors.ChecksumMismatch, errors.TruncatedFile)):
        unseal(seal(CONTENT)[:length])


def test_tensorflow_reads_the_message(tf: Any) -> None:
    theirs = tf.compat.v1.MetaGraphDef.FromString(seal(CONTENT))
    assert theirs.saver_def.restore_op_name == "save/restore_all"
    assert list(theirs.meta_info_def.tags) == ["serve"]


def test_what_another_program_has_changed_is_read_as_it_is(tf: Any) -> None:
    """It keeps the checksum, which is not right any more, behind the fields that it knows."""
    theirs = tf.compat.v1.MetaGraphDef.FromString(seal(CONTENT))
    theirs.saver_def.restore_op_name = "another"
    written = theirs.SerializeToString()
    assert len(written) == len(CONTENT) + SEAL_BYTES - len("save/restore_all") + len("another")
    ours = MetaGraphDef.FromString(unseal(written))
    assert ours.saver_def.restore_op_name == "another"


@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        b"\n\0",
        b"meta_info_def {}",
        b'{"saverDef": {}}',
        *(bytes([n]) for n in range(0x80)),
    ],
    ids=repr,
)
def test_others_have_no_checksum(content: bytes) -> None:
    assert stored_checksum(content[:SEAL_BYTES]) is None
    assert unseal(content) == content


def test_the_error_says_what_was_expected() -> None:
    damaged = seal(CONTENT)[:-1] + b"?"
    found = r"the checksum of the message differs.*0x[0-9a-f]{8}.*0x[0-9a-f]{8}"
    with pytest.raises(errors.ChecksumMismatch, match=re.compile(found, re.DOTALL)):
        unseal(damaged)

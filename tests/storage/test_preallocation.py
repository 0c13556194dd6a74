from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ckptmgr import errors
from ckptmgr.storage import PosixStorage
from ckptmgr.storage.preallocation import reserve


def test_the_blocks_are_reserved(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        reserve(fd, 1 << 20)
        found = os.fstat(fd)
    finally:
        os.close(fd)
    assert found.st_size == 1 << 20
    assert found.st_blocks * 512 >= 1 << 20


def test_nothing_to_reserve_changes_nothing(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        reserve(fd, 0)
        assert os.fstat(fd).st_size == 0
    finally:
        os.close(fd)


def test_a_file_system_without_it_is_left_alone() -> None:
    # procfs has no fallocate: glibc would stand in for it by writing zeros, here into our name.
    name = Path("/proc/self/comm").read_bytes()
    fd = os.open("/proc/self/comm", os.O_WRONLY)
    try:
        reserve(fd, 1 << 20)
    finally:
        os.close(fd)
    assert Path("/proc/self/comm").read_bytes() == name


def test_space_that_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    # No file system holds a file of 4 EiB: EFBIG, on some ENOSPC, before a block is taken.
    file = PosixStorage().create(f"{tmp_path}/file")
    with pytest.raises(
        errors.StorageError, match=f"cannot reserve space for {tmp_path}/file: "
    ) as e:
        file.preallocate(1 << 62)
    file.close()
    assert e.value.errno in {errno.EFBIG, errno.ENOSPC}
    assert os.stat(tmp_path / "file").st_blocks == 0


def test_a_descriptor_that_cannot_have_space_is_an_error() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek") as raised:
            reserve(writer, 1)
    finally:
        os.close(reader)
        os.close(writer)
    assert raised.value.errno == errno.ESPIPE

from __future__ import annotations

import pytest

from ckptmgr import naming
from ckptmgr.lifecycle import retention_file
from ckptmgr.storage import MemoryStorage


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"\xff",
        b"[" * 100_000,
        b"5",
        b'[{"latest": 0}]',
        b'[{"hours": 1' + b"0" * 400 + b"}]",
    ],
)
def test_a_note_that_cannot_be_used_counts_as_none(content: bytes) -> None:
    storage = MemoryStorage()
    storage.make_dirs(naming.internal_directory("/run"))
    file = storage.create(naming.retention_file("/run"))
    file.write([content], 0)
    file.close()
    assert retention_file.read(storage, "/run") is None

"""Without a fault, the storage that injects them is the one that it wraps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptmgr.storage import FaultInjectingStorage, MemoryStorage, PosixStorage, Storage
from tests.contracts.storage_contract import StorageContract


class TestFaultInjectingStorage(StorageContract):
    @pytest.fixture(params=[MemoryStorage, PosixStorage])
    def storage(self, request: pytest.FixtureRequest) -> Storage:
        return FaultInjectingStorage(request.param())

    @pytest.fixture
    def root(self, tmp_path: Path, storage: Storage) -> str:
        path = str(tmp_path / "root")
        storage.make_dirs(path)
        return path

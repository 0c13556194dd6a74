from __future__ import annotations

from pathlib import Path

import pytest

from ckptmgr.storage import PowerLossStorage, Storage
from tests.contracts.storage_contract import StorageContract


class TestPowerLossStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return PowerLossStorage()

    @pytest.fixture
    def root(self, tmp_path: Path, storage: Storage) -> str:
        path = str(tmp_path / "root")
        storage.make_dirs(path)
        return path

"""ckptmgr: the manager saves and restores, a reader loads into arrays new and old."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ckptmgr
from benchmarks.workloads import Array


class OurManager:
    """The manager, with some of its options."""

    def __init__(self, **options: Any) -> None:
        self.is_durable = options.get("durability") != "none"
        self._options = options
        self._state: dict[str, Any] = {}
        self._manager: ckptmgr.CheckpointManager | None = None

    def held(self) -> Mapping[str, Any]:
        return self._state

    def open(self, run: str) -> None:
        self.close()
        self._manager = ckptmgr.CheckpointManager(None, run, max_to_keep=5, **self._options)

    def close(self) -> None:
        if self._manager is not None:
            self._manager.close()
            self._manager = None  # with the memory that it copies into

    def begin(self, step: int) -> None:
        self._in_use.save(step, self._state)

    def finish(self) -> None:
        self._in_use.wait()

    def restore(self, step: int) -> None:
        restored = self._in_use.restore(step, self._state)
        assert restored is not None, "the step was saved"
        self._state = restored.state  # arrays that cannot be changed are new ones

    @property
    def _in_use(self) -> ckptmgr.CheckpointManager:
        assert self._manager is not None, "save and load come after open"
        return self._manager


class OurSaver(OurManager):
    def hold(self, tensors: Mapping[str, Array]) -> None:
        self._state = dict(tensors)

    def load(self, step: int) -> Mapping[str, Any]:
        with ckptmgr.load_checkpoint(self._prefix(step)) as reader:
            return reader.get_tensors(self._state)

    def load_in_place(self, step: int) -> None:
        with ckptmgr.load_checkpoint(self._prefix(step)) as reader:
            reader.get_tensors(self._state, into=self._state)

    def open_manager(self, run: str) -> None:
        self.open(run)

    def manager_save(self, step: int) -> None:
        self.begin(step)

    def _prefix(self, step: int) -> str:
        return f"{self._in_use.directory}/model.ckpt-{step}"


class OurJaxSaver(OurManager):
    """Immutable arrays, which need no copy to be saved in the background."""

    def __init__(self) -> None:
        super().__init__(asynchronous=True)

    def hold(self, tensors: Mapping[str, Array]) -> None:
        import jax

        self._state = {name: jax.device_put(array) for name, array in tensors.items()}
        jax.block_until_ready(self._state)

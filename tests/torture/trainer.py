"""The trainer that is killed: it restores, trains, saves at each step, and tells all of it.

phase NAME          what it does from now on
call                it is about to ask the file system for something
restored STEP       where it continues
begin STEP          a save began
ack STEP            it is durable: from now on it may not be lost
done DIGEST         it came to the last step
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ckptmgr import CheckpointManager, events, naming
from ckptmgr.retention import BestN
from ckptmgr.storage import PosixStorage
from ckptmgr.storage.protocol import Buffer, FileLock, ReadableFile, WritableFile
from tests.torture.processes import Tell
from tests.torture.training import Training

MAX_TO_KEEP = 3
BEST = BestN("loss")
HOURS = 20 / 3600

#: What a device would take for a step, in which Python's other threads run.
_STEP_SECS = 0.001


@dataclass(frozen=True)
class Settings:
    """What one attempt does; all attempts of a run share directory and retention."""

    directory: str
    attempt: int
    frozen_bytes: int
    #: Ends there, if nobody kills it before.
    last_step: int
    asynchronous: bool = False
    copy_in_background: bool = False
    when_busy: str = "wait"
    deduplicate: bool = False
    durability: str = "fsync"
    #: Continue from some checkpoint instead of the latest: the steps behind it are saved over.
    goes_back: bool = False

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Settings:
        return cls(**json.loads(text))


class TellingStorage(PosixStorage):
    """Tells before each call that changes the disk, and which part of a save it belongs to."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell
        self._phase = ""

    def enter(self, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            self._tell(f"phase {phase}")

    def _about_to(self, method: str, path: str) -> None:
        phase = _phase_of(method, path, self._phase)
        if phase:
            self.enter(phase)
        self._tell("call")

    def create(self, path: str) -> WritableFile:
        self._about_to("create", path)
        return _TellingFile(super().create(path), self._tell)

    def open(self, path: str) -> ReadableFile:
        self._tell("call")
        return super().open(path)

    def rename(self, source: str, target: str) -> None:
        self._about_to("rename", target)
        super().rename(source, target)

    def link(self, source: str, target: str) -> None:
        self._about_to("link", target)
        super().link(source, target)

    def unlink(self, path: str) -> None:
        self._about_to("unlink", path)
        super().unlink(path)

    def make_dirs(self, path: str) -> list[str]:
        self._tell("call")
        return super().make_dirs(path)

    def sync_dir(self, path: str) -> None:
        self._tell("call")
        super().sync_dir(path)

    def lock(self, path: str) -> FileLock:
        self._about_to("lock", path)
        return super().lock(path)


class _TellingFile:
    """A file that is written, every call told."""

    def __init__(self, file: WritableFile, tell: Tell) -> None:
        self._file = file
        self._tell = tell

    def preallocate(self, size_bytes: int) -> None:
        self._tell("call")
        self._file.preallocate(size_bytes)

    def bypass_cache(self) -> int:
        return self._file.bypass_cache()

    def write(self, buffers: Sequence[Buffer], offset: int) -> None:
        self._tell("call")
        self._file.write(buffers, offset)

    def truncate(self, size_bytes: int) -> None:
        self._tell("call")
        self._file.truncate(size_bytes)

    def sync(self) -> None:
        self._tell("call")
        self._file.sync()

    def close(self) -> None:
        self._file.close()


def _phase_of(method: str, path: str, current: str) -> str | None:
    """The part of a save that a call begins; None if it belongs to the one that is under way."""
    folder, base = os.path.basename(os.path.dirname(path)), os.path.basename(path)
    is_temporary = naming.owner_of_temporary(base) is not None
    if folder in {"writers", "holds"}:
        return "registering"
    if folder == "deleting":
        return "recording" if method == "create" else "deleting"
    if folder == "publishing":
        return "publishing" if method == "create" else "recording"
    if base.startswith(f"{naming.STATE_FILENAME}.tmp-") or base == naming.STATE_FILENAME:
        return "recording"
    if method == "unlink" and is_temporary:
        return None if current in {"publishing", "deleting"} else "sweeping"
    if method == "unlink" and base.endswith(".index"):
        return "deleting"
    if method == "rename":
        # A deletion begins by taking the index its name.
        return "deleting" if is_temporary else "publishing"
    return "staging" if is_temporary else None


def train(settings: Settings, tell: Tell) -> None:
    """One attempt."""
    storage = TellingStorage(tell)
    storage.enter("restoring")

    def listen(event: events.Event) -> None:
        match event:
            case events.SaveStarted():
                tell(f"begin {event.step}")
                storage.enter("copying" if settings.asynchronous else "staging")
            case events.SaveStaged():
                storage.enter("staging")
            case events.SaveCommitted():
                tell(f"ack {event.step}")
                storage.enter("between saves")
            case events.StateRebuilt():
                tell("rebuilt")
            case events.CheckpointSkipped() | events.SaveFailed():
                raise AssertionError(f"only kills happen here, and no damage: {event!r}")

    def listen_and_fail(event: events.Event) -> None:
        try:
            listen(event)
        except AssertionError as error:  # a listener's error is only logged
            tell(f"failed {error}")
            os._exit(1)

    training = Training(settings.frozen_bytes)
    with CheckpointManager(
        training.state,
        settings.directory,
        max_to_keep=MAX_TO_KEEP,
        keep_best=BEST,
        keep_checkpoint_every_n_hours=HOURS,
        asynchronous=settings.asynchronous,
        copy_in_background=settings.copy_in_background,
        when_busy=settings.when_busy,
        deduplicate=settings.deduplicate,
        durability=settings.durability,
        on_event=listen_and_fail,
        storage=storage,
    ) as manager:
        _restore(manager, training, settings, tell)
        training.state["attempt"] = settings.attempt
        while training.state.step < settings.last_step:
            manager.wait_staged()
            training.advance()
            time.sleep(_STEP_SECS)
            manager.save(training.state.step, metrics={"loss": training.loss})
        manager.wait()
        tell(f"done {training.digest()}")


def _restore(
    manager: CheckpointManager, training: Training, settings: Settings, tell: Tell
) -> None:
    steps = manager.all_steps()
    if not steps:
        tell("restored 0")
        return
    chosen = random.Random(settings.attempt).choice(steps) if settings.goes_back else None
    training.scramble()
    restored = manager.restore(chosen)
    assert restored is not None
    assert not np.isnan(training.state.model["weights"]).any()
    tell(f"restored {restored.step}")


def restore_for_check(directory: str, step: int, frozen_bytes: int) -> tuple[str, int]:
    """The digest of a checkpoint and the attempt that saved it; every byte is verified."""
    training = Training(frozen_bytes)
    training.scramble()
    restored = CheckpointManager(training.state, directory).restore(step)
    assert restored is not None
    attempt: Any = training.state.attempt
    return training.digest(), int(attempt)

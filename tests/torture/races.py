"""Many processes on one directory, of which one is killed every moment and started again.

While it lasts, every role checks what it sees (`roles`), and none may be silent for long. In the
end all are asked to leave, and then every checkpoint that was acknowledged must be accounted for,
and one save must leave nothing of all those who died.
"""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter

import ckptmgr
from ckptmgr import CheckpointManager, naming
from ckptmgr.lifecycle.catalog import list_prefixes
from ckptmgr.storage import PosixStorage
from tests.torture import processes, roles
from tests.torture.processes import Child, ChildFailed
from tests.torture.roles import CAST, PRUNER, SCRATCH, Place, Role
from tests.torture.tables import table

#: Longer than any role pauses, on a machine that has other things to do as well.
_SILENCE_LIMIT_SECS = 60.0
_KILL_EVERY_SECS = 0.25


class RaceLost(AssertionError):
    """The directory is not as the processes that used it must have left it."""


class Race:
    """All processes of one directory."""

    def __init__(self, directory: str, *, secs: float, seed: int) -> None:
        self.directory = directory
        self.counts: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.saved: set[str] = set()
        self.deleted: set[str] = set()
        self.secs = secs
        self._dice = random.Random(seed)
        self._number = seed * 100_000
        self._until_secs = time.monotonic() + secs
        self._children: dict[int, tuple[Child, Role]] = {}

    def run(self) -> None:
        # Whoever comes between the first checkpoint and the first state sees one without the other.
        self._save(1)
        for name, role, count in CAST:
            for _ in range(count):
                self._start(name, role)
        next_kill_secs = time.monotonic() + _KILL_EVERY_SECS
        while self._children:
            self._listen(0.05)
            now_secs = time.monotonic()
            if now_secs >= next_kill_secs and now_secs < self._until_secs:
                self._kill_one()
                next_kill_secs = now_secs + self._dice.uniform(0, 2 * _KILL_EVERY_SECS)
            self._refuse_silence()
        self._check()

    def _start(self, name: str, role: Role) -> None:
        self._number += 1
        place = Place(self.directory, self._until_secs, self._number)
        child = processes.fork(name, roles.play(role, place))
        self._children[child.fd] = child, role

    def _listen(self, secs: float) -> None:
        for fd in select.select(list(self._children), [], [], secs)[0]:
            child, _ = self._children[fd]
            self._hear(child)
            if child.has_ended:
                del self._children[fd]
                if child.end() != 0:
                    raise ChildFailed(f"{child.name} ended with status {child.end()}")

    def _hear(self, child: Child) -> None:
        for line in child.read():
            word, _, rest = line.partition(" ")
            match word:
                case "saved":
                    self.counts["saves"] += 1
                    self.saved.add(rest)
                case "deleting":
                    self.counts["deletions"] += 1
                    self.deleted.add(rest)
                case "count":
                    self.counts[rest] += 1
                case "alive":
                    pass
                case _:
                    raise ChildFailed(f"{child.name}: {line}".replace("\\n", "\n"))

    def _kill_one(self) -> None:
        fd = self._dice.choice(list(self._children))
        child, role = self._children.pop(fd)
        child.kill()
        while not child.has_ended:
            self._hear(child)
        if child.end() != -signal.SIGKILL:
            raise ChildFailed(f"{child.name} ended by itself with status {child.end()}")
        self.kills[child.name] += 1
        self._start(child.name, role)

    def _refuse_silence(self) -> None:
        for child, _ in self._children.values():
            if child.is_silent_since(time.monotonic() - _SILENCE_LIMIT_SECS):
                os.kill(child.pid, signal.SIGUSR1)  # its threads' stacks go to standard error
                time.sleep(1)
                raise ChildFailed(f"{child.name} said nothing for {_SILENCE_LIMIT_SECS} s")

    def stop(self) -> None:
        for child, _ in self._children.values():
            child.kill()

    # ------------------------------------------------------------------- in the end

    def _check(self) -> None:
        lock = PosixStorage().lock(naming.lock_file(self.directory))
        _require(lock.try_acquire(), "somebody who is gone left the lock behind")
        lock.release()
        self._check_accounts()
        last_step = (self._number + 1) * 10_000
        self._save(last_step)
        self._check_nothing_is_left(last_step)

    def _save(self, step: int) -> None:
        state = roles.make_state()
        roles.fill(state, step)
        with CheckpointManager(
            state, self.directory, checkpoint_name=PRUNER, max_to_keep=1
        ) as manager:
            manager.save(step)

    def _check_accounts(self) -> None:
        """Every acknowledged checkpoint is there, whole and listed, or somebody deleted it."""
        bases = {
            naming.base_of(prefix)
            for name in _NAMES
            for prefix in list_prefixes(PosixStorage(), self.directory, name)
        }
        lost = self.saved - bases - self.deleted
        _require(not lost, f"nobody deleted these, and they are gone: {sorted(lost)}")
        state = ckptmgr.get_checkpoint_state(self.directory)
        _require(state is not None, "there is no state")
        assert state is not None
        listed = {naming.base_of(path) for path in state.all_model_checkpoint_paths}
        forgotten = bases - listed - self._marked("publishing") - self._marked("deleting")
        _require(not forgotten, f"there and not in the state: {sorted(forgotten)}")
        missing = {base for base in listed - bases if not base.startswith(SCRATCH)}
        _require(not missing, f"in the state and not there: {sorted(missing)}")
        for base in bases:
            prefix = os.path.join(self.directory, base)
            roles.require_whole(prefix, roles._read(prefix))
            self.counts["checkpoints read in the end"] += 1

    def _check_nothing_is_left(self, last_step: int) -> None:
        internal = naming.internal_directory(self.directory)
        names = [*os.listdir(self.directory), *os.listdir(internal)]
        left = [name for name in names if naming.owner_of_temporary(name)]
        for folder in ("writers", "holds", "publishing", "deleting"):
            left += [os.path.join(folder, name) for name in self._marked(folder)]
        wanted = f"{PRUNER}-{last_step}."
        left += [n for n in names if ".ckpt-" in n and not n.startswith(wanted)]
        _require(not left, f"of those who died, these are left: {left}")

    def _marked(self, folder: str) -> set[str]:
        path = os.path.join(naming.internal_directory(self.directory), folder)
        return set(os.listdir(path)) if os.path.isdir(path) else set()

    def text(self) -> str:
        happened = [[name, str(count)] for name, count in sorted(self.counts.items())]
        killed = [[name, str(self.kills[name])] for name, _, _ in CAST]
        return "\n".join(
            [
                table(["what happened", "times"], happened),
                "",
                table(["killed", "times"], [*killed, ["total", str(sum(self.kills.values()))]]),
                "",
                f"{self.secs:.0f} s: no torn read, nothing lost, no hang, nothing left over",
            ]
        )


_NAMES = (roles.SHARED, roles.OTHER, roles.PRUNER, roles.SCRATCH)


def _require(is_so: bool, message: str) -> None:
    if not is_so:
        raise RaceLost(message)


def run(*, secs: float, seed: int, directory: str | None) -> None:
    """Print what happened; raises RaceLost or ChildFailed, and leaves the directory then."""
    parent = tempfile.mkdtemp(prefix="torture-races-", dir=directory)
    race = Race(os.path.join(parent, "run"), secs=secs, seed=seed)
    try:
        race.run()
    except BaseException:
        race.stop()
        print(f"seed {seed}; the directory is {race.directory}", file=sys.stderr)
        raise
    shutil.rmtree(parent)
    print(race.text())

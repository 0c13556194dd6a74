"""A trainer is killed with SIGKILL at a random moment and started again, a thousand times in a row.

After each kill, before anybody else touches the directory, everything that was promised is checked
(`promises`). In the end one attempt is left alone, and its weights must be those of a run that
was never disturbed, to the last bit.

Half of the moments are uniform over the time of a save. The others follow its system calls, each
as likely as the next, because some parts of a save take so little time that a clock hardly ever
meets them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from tests.torture import processes, trainer
from tests.torture.processes import Child, ChildFailed
from tests.torture.promises import Promises, require
from tests.torture.tables import table
from tests.torture.trainer import Settings
from tests.torture.training import UndisturbedRun

_SILENCE_LIMIT_SECS = 60.0
_NEVER = 1 << 40
#: So many steps are trained after the last kill, past the end of an epoch.
_LAST_STEPS = 40
#: Every so many attempts begin in a fresh interpreter; the others in a fork of this one.
_FRESH_EVERY = 25

PHASES = (
    "starting",
    "restoring",
    "registering",
    "sweeping",
    "copying",
    "staging",
    "publishing",
    "recording",
    "deleting",
    "between saves",
)


@dataclass
class Report:
    """What happened, for the table at the end."""

    kills: Counter[str] = field(default_factory=Counter)
    #: Of the kills inside a save: those after which the checkpoint was there nevertheless.
    committed: Counter[str] = field(default_factory=Counter)
    inside_a_save: int = 0
    saves: int = 0
    checked_checkpoints: int = 0
    modes: Counter[str] = field(default_factory=Counter)
    secs: float = 0.0
    final_step: int = 0

    def text(self) -> str:
        rows = [[phase, str(self.kills[phase]), str(self.committed[phase])] for phase in PHASES]
        total = sum(self.kills.values())
        rows.append(["total", str(total), str(sum(self.committed.values()))])
        modes = ", ".join(f"{name} {count}" for name, count in sorted(self.modes.items()))
        return "\n".join(
            [
                table(["killed while", "kills", "save had become visible"], rows),
                "",
                f"{self.inside_a_save} of {total} kills fell inside a save",
                f"attempts: {modes}",
                f"{self.saves} saves were acknowledged",
                f"{self.checked_checkpoints} checkpoints were restored and compared bit by bit",
                f"step {self.final_step} equals that of an undisturbed run, to the last bit",
                f"{self.secs:.0f} s",
            ]
        )


class _Moment:
    """Decides when to kill, from what the child tells."""

    def __init__(self, dice: random.Random, save_secs: float, save_calls: float) -> None:
        self.kind = dice.choices(["start", "time", "call"], [4, 48, 48])[0]
        self._saves_before = dice.randrange(4)
        self._delay_secs = dice.uniform(0, 1.2 * save_secs)
        self._calls_before = int(dice.uniform(0, 1.1 * save_calls))
        if self.kind == "call":
            self._delay_secs = dice.uniform(0, 0.0005)
        self._inside = False
        self.at_secs = time.monotonic() + _SILENCE_LIMIT_SECS
        if self.kind == "start":
            self.at_secs = time.monotonic() + dice.uniform(0, 0.06)

    def hear(self, line: str) -> None:
        if line.startswith("begin") and not self._inside:
            self._inside = self._saves_before == 0
            self._saves_before -= 1
            if self._inside and self.kind == "time":
                self.at_secs = time.monotonic() + self._delay_secs
        elif line.startswith("ack") and self._inside:
            self.at_secs = min(self.at_secs, time.monotonic() + self._delay_secs)
        elif line == "call" and self._inside and self.kind == "call":
            if self._calls_before == 0:
                self.at_secs = min(self.at_secs, time.monotonic() + self._delay_secs)
            self._calls_before -= 1


class Kills:
    """One run in one directory."""

    def __init__(self, directory: str, *, seed: int, frozen_bytes: int) -> None:
        self.directory = directory
        self.report = Report()
        self._seed = seed
        self._frozen_bytes = frozen_bytes
        self._undisturbed = UndisturbedRun(frozen_bytes)
        self._promises = Promises(directory, self._undisturbed, frozen_bytes)
        # How long a save takes and how many calls it makes, over the last ones.
        self._save_secs = 0.02
        self._save_calls = 30.0

    def run(self, count: int) -> Report:
        began_secs = time.monotonic()
        for attempt in range(1, count + 1):
            self._kill_one(attempt)
            if attempt % max(1, count // 10) == 0:
                secs = time.monotonic() - began_secs
                print(
                    f"{attempt} kills, step {self._promises.order[-1:]}, {secs:.0f} s", flush=True
                )
        self._finish(count + 1)
        self.report.secs = time.monotonic() - began_secs
        self.report.checked_checkpoints = self._promises.checked
        return self.report

    def _settings(self, attempt: int, last_step: int = _NEVER) -> Settings:
        dice = random.Random(f"{self._seed} settings {attempt}")
        asynchronous = dice.random() < 0.5
        return Settings(
            self.directory,
            attempt,
            self._frozen_bytes,
            last_step,
            asynchronous=asynchronous,
            copy_in_background=asynchronous and dice.random() < 0.3,
            when_busy="skip" if dice.random() < 0.3 else "wait",
            deduplicate=dice.random() < 0.4,
            durability="none" if dice.random() < 0.1 else "fsync",
            goes_back=last_step == _NEVER and dice.random() < 0.3,
        )

    def _start(self, settings: Settings) -> Child:
        self._count_modes(settings)
        self._promises.begin_attempt()
        if settings.attempt % _FRESH_EVERY == 0:
            return processes.start("trainer", ["train", "--settings", settings.encode()])
        return processes.fork("trainer", partial(trainer.train, settings))

    def _count_modes(self, settings: Settings) -> None:
        modes = {
            "asynchronous": settings.asynchronous,
            "synchronous": not settings.asynchronous,
            "deduplicating": settings.deduplicate,
            "without fsync": settings.durability == "none",
            "overwriting": settings.goes_back,
            "in a fresh interpreter": settings.attempt % _FRESH_EVERY == 0,
        }
        self.report.modes.update(name for name, is_so in modes.items() if is_so)

    def _kill_one(self, attempt: int) -> None:
        child = self._start(self._settings(attempt))
        dice = random.Random(f"{self._seed} moment {attempt}")
        moment = _Moment(dice, self._save_secs, self._save_calls)
        listener = _Listener(self._promises, attempt)
        while time.monotonic() < moment.at_secs and not child.has_ended:
            for line in child.lines(moment.at_secs):
                moment.hear(line)
                listener.hear(line)
        _refuse_silence(child)
        child.kill()
        while not child.has_ended:
            for line in child.read():
                listener.hear(line)
        if child.end() != -signal.SIGKILL:
            raise ChildFailed(f"attempt {attempt} ended by itself with status {child.end()}")
        if moment.kind != "start":
            self._learn(listener)
        visible = self._promises.check(attempt, thorough=attempt % 50 == 0)
        self._count(listener, visible=visible)

    def _learn(self, listener: _Listener) -> None:
        for secs, calls in listener.saves:
            self._save_secs += 0.05 * (secs - self._save_secs)
            self._save_calls += 0.05 * (calls - self._save_calls)

    def _count(self, listener: _Listener, *, visible: bool) -> None:
        self.report.kills[listener.phase] += 1
        self.report.committed[listener.phase] += visible
        self.report.inside_a_save += self._promises.in_flight is not None
        self.report.saves += len(listener.saves)

    def _finish(self, attempt: int) -> None:
        """One attempt that nobody kills."""
        last_step = max(self._promises.order, default=0) + _LAST_STEPS
        child = self._start(self._settings(attempt, last_step))
        listener = _Listener(self._promises, attempt)
        while not child.has_ended:
            for line in child.read():
                listener.hear(line)
        require(child.end() == 0, f"the last attempt ended with status {child.end()}")
        self._promises.check(attempt, thorough=True)
        self._promises.check_end()
        self.report.saves += len(listener.saves)
        self.report.final_step = last_step
        command = [sys.executable, "-m", "tests.torture", "undisturbed"]
        arguments = [str(last_step), "--frozen-bytes", str(self._frozen_bytes)]
        undisturbed = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
        require(
            listener.digest == undisturbed,
            f"after {last_step} steps the run is not what an undisturbed one is",
        )


class _Listener:
    """Passes a trainer's lines on to where they count."""

    def __init__(self, promises: Promises, attempt: int) -> None:
        self._promises = promises
        self._attempt = attempt
        self._began_secs = 0.0
        self._calls = 0
        self.phase = "starting"
        #: Duration and system calls of each save that was acknowledged.
        self.saves: list[tuple[float, int]] = []
        self.digest = ""

    def hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "phase":
                self.phase = rest
            case "call":
                self._calls += 1
            case "restored":
                self._check_restored(int(rest))
            case "rebuilt":
                # The first save of all may be killed between the checkpoint and the state.
                require(not self._promises.order, "there was a state, and it was rebuilt")
            case "begin":
                self._began_secs, self._calls = time.monotonic(), 0
                self._promises.began(int(rest))
            case "ack":
                self.saves.append((time.monotonic() - self._began_secs, self._calls))
                self._promises.acknowledged(int(rest), self._attempt)
            case "done":
                self.digest = rest
            case _:
                raise ChildFailed(f"attempt {self._attempt}: {line}".replace("\\n", "\n"))

    def _check_restored(self, step: int) -> None:
        known = self._promises.order
        require(not known or step != 0, f"nothing was restored, there were {known}")


def _refuse_silence(child: Child) -> None:
    if child.is_silent_since(time.monotonic() - _SILENCE_LIMIT_SECS / 2):
        os.kill(child.pid, signal.SIGUSR1)  # its threads' stacks go to standard error
        time.sleep(1)
        child.kill()
        raise ChildFailed(f"{child.name} hung for {_SILENCE_LIMIT_SECS / 2} s")


def run(*, count: int, seed: int, frozen_bytes: int, directory: str | None) -> None:
    """Print a report; raises PromiseBroken or ChildFailed, and leaves the directory then."""
    parent = tempfile.mkdtemp(prefix="torture-kills-", dir=directory)
    kills = Kills(os.path.join(parent, "run"), seed=seed, frozen_bytes=frozen_bytes)
    try:
        report = kills.run(count)
    except BaseException:
        print(f"seed {seed}; the directory is {kills.directory}", file=sys.stderr)
        raise
    shutil.rmtree(parent)
    print(report.text())

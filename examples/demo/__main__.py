"""A training that is killed again and again, in the middle of its saves, and loses nothing.

python -m examples.demo

One process trains (`digits/train.py`), another one measures each checkpoint as it lands
(`digits/evaluate.py`). Four times the trainer is killed with SIGKILL at a chosen point of a save
(`digits/stopping.py`) and started again. The demo ends with status 1 unless all of this is so:

* after each kill, the latest checkpoint is the one that it should be, and training resumes there;
* the evaluator saw every checkpoint once;
* the final state equals that of a run that nobody interrupted, bit for bit;
* nothing is left of the saves that were cut off;
* TensorFlow, if it is installed, reads the result.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec

from rich.console import Console

import ckptmgr
from ckptmgr.lifecycle.listing import list_checkpoints
from examples.demo.checks import differing_tensors, unfinished_files
from examples.demo.presentation import Presentation
from examples.demo.programs import Lines, Program, ProgramFailed, next_line
from examples.digits.stopping import STOPPED

CHECKPOINTS = 20
EVERY = 500
STEPS = CHECKPOINTS * EVERY


@dataclass(frozen=True)
class Kill:
    #: Which save is cut off, counted from 1. Fewer than the five checkpoints that are kept lie
    #: between two kills, and each kill waits for the evaluator: however slow it is, it finds all.
    save: int
    #: Of `digits/stopping.py`.
    point: str
    #: Goes on from "killed at step 2,000".
    words: str
    #: Whether the checkpoint that was being saved is the latest now.
    committed: bool


KILLS = (
    Kill(4, "data-written", "after its data was written", committed=False),
    # Early: later on, the old one might be the best so far and stay.
    Kill(8, "old-half-deleted", "while deleting an old one", committed=True),
    Kill(12, "data-renamed", "after its data was renamed", committed=False),
    Kill(16, "index-renamed", "after its index was renamed", committed=False),
)


class Unexpected(Exception):
    """Something that the demo claims is not so."""


class Demo:
    """A run that is interrupted, one that is not, and the checks behind them."""

    def __init__(self, directory: str, show: Presentation, stack: ExitStack) -> None:
        self.run_dir = os.path.join(directory, "interrupted")
        self.reference_dir = os.path.join(directory, "uninterrupted")
        self.show = show
        self.stack = stack
        self.lines: Lines = queue.Queue()
        #: The latest step after each kill, and where each training then went on.
        self.latest_steps: list[int] = []
        self.restarts: list[int] = []
        self.tensorflow: Program | None = None
        #: Step and accuracy of each checkpoint that the evaluator saw, in its order.
        self.seen: list[tuple[int, float]] = []

    def start(self, module: str, *arguments: str) -> Program:
        program = Program(f"examples.{module}", *arguments, lines=self.lines)
        self.stack.callback(program.end)
        return program

    def start_training(self, module: str, run_dir: str, *arguments: str) -> Program:
        return self.start(module, run_dir, f"--steps={STEPS}", f"--every={EVERY}", *arguments)

    # ----------------------------------------------------------------------- the story

    def run(self) -> None:
        """Tell it; raises Unexpected or ProgramFailed where it is not as claimed."""
        self.show.opening(len(KILLS))
        evaluator = self.start("digits.evaluate", self.run_dir, "--json")
        for kill in KILLS:
            self.train_and_kill(kill)
        self.follow_until_ended(self.start_training("digits.train", self.run_dir))
        self.follow_until_ended(evaluator)
        self.show.checking()
        reference = self.start_training("digits.train", self.reference_dir)
        if find_spec("tensorflow"):
            self.tensorflow = self.start("read_with_tensorflow", self.run_dir)
            self.follow_until_ended(self.tensorflow)
        self.follow_until_ended(reference)
        self.show.table(list_checkpoints(self.run_dir), dict(self.seen))
        self.check()

    def train_and_kill(self, kill: Kill) -> None:
        step = kill.save * EVERY
        trainer = self.start_training(
            "digits.stopping", self.run_dir, f"--step={step}", f"--point={kill.point}"
        )
        while self.follow() != (trainer, STOPPED):
            if trainer.has_ended:
                raise Unexpected(f"the training ended; it should have stopped at step {step:,}")
        trainer.kill()
        expected = step if kill.committed else step - EVERY
        latest = ckptmgr.latest_checkpoint(self.run_dir)
        if latest != os.path.join(self.run_dir, f"model.ckpt-{expected}"):
            raise Unexpected(f"killed at step {step:,} {kill.words}, but latest is {latest}")
        left_behind = unfinished_files(self.run_dir)
        if not left_behind:
            raise Unexpected(f"the kill at step {step:,} was not in the middle of anything")
        while self.steps_seen()[-1:] != [expected]:
            self.follow()
        self.show.killed(step, kill.words, expected, left_behind)
        self.latest_steps.append(expected)

    def follow_until_ended(self, program: Program) -> None:
        while not program.has_ended:
            self.follow()

    def follow(self) -> tuple[Program, str | None]:
        """Wait for one line of any program, and show it."""
        program, line = next_line(self.lines)
        if line is None:
            program.require_good_end()
        elif line.startswith("{"):
            evaluation = json.loads(line)
            self.seen.append((evaluation["step"], evaluation["accuracy"]))
            self.show.evaluated(**evaluation)
        elif line.startswith("restored step "):
            step = int(line.split()[2])
            self.restarts.append(step)
            self.show.restarted(step)
        return program, line

    def steps_seen(self) -> list[int]:
        return [step for step, _ in self.seen]

    # ----------------------------------------------------------------------- the checks

    def check(self) -> None:
        """Confirm each claim; raises Unexpected at the first that is not so."""
        if self.restarts != self.latest_steps:
            raise Unexpected(f"restarted from {self.restarts}, not from {self.latest_steps}")
        self.show.confirmed(f"killed {len(KILLS)} times, restarted from the latest each time")
        if self.steps_seen() != list(range(EVERY, STEPS + 1, EVERY)):
            raise Unexpected(f"the evaluator saw {self.steps_seen()}, not each checkpoint once")
        self.show.confirmed(f"the evaluator saw each of the {CHECKPOINTS} checkpoints once")
        different, count = differing_tensors(self.run_dir, self.reference_dir)
        if different:
            raise Unexpected(f"an uninterrupted run has other values of {', '.join(different)}")
        self.show.confirmed(
            f"all {count} tensors of the state equal those of an uninterrupted run, bit for bit"
        )
        left = unfinished_files(self.run_dir)
        if left:
            raise Unexpected(f"left behind by the kills: {', '.join(left)}")
        self.show.confirmed("of the saves that were cut off, no file is left")
        if self.tensorflow is None:
            self.show.remark("TensorFlow is not installed, so it did not read the result")
        else:
            self.show.confirmed(self.tensorflow.last_line)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Kill a training in the middle of its saves and show that nothing is lost.",
    )
    parser.add_argument("--keep", metavar="DIR", help="a new directory for the checkpoints")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        if arguments.keep is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptmgr-demo-"))
        else:
            directory = os.path.abspath(arguments.keep)
            if os.path.exists(directory):
                parser.error(f"{directory} is there already")
        show = stack.enter_context(Presentation(Console(), STEPS))
        try:
            Demo(directory, show, stack).run()
        except (Unexpected, ProgramFailed) as failure:
            show.refuted(str(failure))
            return 1
        except KeyboardInterrupt:
            return 130  # as a shell reports SIGINT
        if arguments.keep is not None:
            show.remark(f"to look at them: ckptmgr ls {os.path.join(directory, 'interrupted')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

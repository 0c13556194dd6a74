"""Fuzzing for as long as one likes, guided by coverage: `make fuzz FUZZ="--target v1 --secs 3600"`.

Each target runs in a process of its own with atheris. Inputs are changed by the target's own
mutator, which knows its structure, or one time in four by libFuzzer's. What is found ends the run:
the input is written to build/fuzz/, and given as an argument it is run alone.

The time limit of an input is one of processor time, so that a run may be stopped and go on.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType

_CORPUS = Path(__file__).parent / "corpus"
_FOUND = Path("build") / "fuzz"
_NAMES = ("bundle", "v1", "state", "manager", "meta_graph", "saved_model")
# A call in C that never returns cannot be interrupted; nothing else reaches this.
_LIBFUZZER_TIMEOUT_SECS = 86400
# Measuring memory takes about as long as everything else.
_MEMORY_EVERY = 4
_TOLD_EVERY = 500
# atheris itself takes some KB more with each input.
_ROUND_SECS = 600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=_NAMES, action="append")
    parser.add_argument("--secs", type=int, default=60, help="of each target, on the wall clock")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--child", metavar="CORPUS", help=argparse.SUPPRESS)
    parser.add_argument("input", nargs="*", help="files to run instead, with one --target")
    options = parser.parse_args()
    targets = options.target or list(_NAMES)
    if options.child:
        _fuzz(targets[0], options)
    return max(_run(target, options) for target in targets)


def _run(target: str, options: argparse.Namespace) -> int:
    """Fuzz one target, in rounds, and say what came of it."""
    _FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOUND) as directory:
        corpus = Path(directory) / target
        shutil.copytree(_CORPUS / target, corpus)
        began_secs = time.monotonic()
        left_secs = options.secs
        tally = _Tally()
        while not tally.status and left_secs > 0:
            secs = min(left_secs, _ROUND_SECS)
            command = [sys.executable, "-m", "tests.fuzz", "--child", str(corpus)]
            command += ["--target", target, "--secs", str(secs), "--seed", str(options.seed)]
            tally.add(_echoed([*command, *options.input]))
            left_secs = 0 if options.input else options.secs - int(time.monotonic() - began_secs)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"fuzz {target}: {tally.inputs} inputs, {time.monotonic() - began_secs:.0f} s, "
        f"{used.ru_utime + used.ru_stime:.0f} s of processor, coverage {tally.coverage}, "
        f"features {tally.features}, corpus {tally.corpus}, slowest input {tally.most_secs:.2f} s, "
        f"most memory of an input {tally.most_bytes >> 10} KiB, "
        f"findings: {1 if tally.status else 0}",
        flush=True,
    )
    return tally.status


@dataclass(slots=True)
class _Tally:
    """What the rounds of one target came to, from what they printed."""

    status: int = 0
    inputs: int = 0
    coverage: int = 0
    features: int = 0
    corpus: int = 0
    most_secs: float = 0.0
    most_bytes: int = 0

    def add(self, result: tuple[int, str]) -> None:
        self.status, text = result
        self.inputs += int((re.findall(r"^#(\d+)", text, re.MULTILINE) or ["0"])[-1])
        for found in re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)[-1:]:
            self.coverage, self.features, self.corpus = map(int, found)
        for secs, size in re.findall(r"^guard: ([\d.]+) s, (\d+) bytes", text, re.MULTILINE):
            self.most_secs = max(self.most_secs, float(secs))
            self.most_bytes = max(self.most_bytes, int(size))


def _echoed(command: list[str]) -> tuple[int, str]:
    """Run a command; its status and output, which is printed as it comes."""
    output = []
    with subprocess.Popen(
        command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            print(line, end="", flush=True)
    return process.returncode, "".join(output)


def _fuzz(target: str, options: argparse.Namespace) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["ckptmgr"]):
        from tests.fuzz import targets
    from tests.fuzz.guard import Guard

    targets.silence()
    chosen = targets.TARGETS[target]
    guard = Guard(chosen.check, every=_MEMORY_EVERY)

    def check(data: bytes) -> None:
        # Not what the process as a whole has used: the time of this input.
        signal.setitimer(signal.ITIMER_VIRTUAL, 30)
        try:
            guard(data)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if guard.inputs % _TOLD_EVERY == 0:  # libFuzzer ends the process without a word of ours
            print(f"guard: {guard.most_secs:.3f} s, {guard.most_bytes} bytes", flush=True)

    def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
        random = Random(seed)
        changed = atheris.Mutate(data, most_bytes) if seed % 4 == 0 else chosen.mutate(data, random)
        return bytes(changed[:most_bytes])

    signal.signal(signal.SIGVTALRM, _hangs)
    arguments = options.input or [
        f"-max_total_time={options.secs}",
        f"-seed={options.seed}",
        options.child,
    ]
    atheris.Setup(
        [
            sys.argv[0],
            *arguments,
            f"-artifact_prefix={_FOUND}/{target}-",
            f"-timeout={_LIBFUZZER_TIMEOUT_SECS}",
            "-rss_limit_mb=2048",
            "-max_len=65536",
            "-len_control=0",
        ],
        check,
        custom_mutator=mutate,
    )
    atheris.Fuzz()


def _hangs(signal_number: int, frame: FrameType | None) -> None:
    from tests.fuzz.guard import Finding

    raise Finding("an input hangs")


if __name__ == "__main__":
    sys.exit(main())

"""What TensorFlow's command line tools printed, as captured beside the files they looked at."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

# A set, as Python prints it: in another order in each process.
_SET = re.compile(r"\{('\w+'(?:, '\w+')*)\}$", re.MULTILINE)
_END = re.compile(r"^\[exit (\d+)\](?: \[stderr last line\] (.*))?\n\Z", re.MULTILINE)


@dataclass(frozen=True)
class Captured:
    arguments: list[str]
    out: str
    status: int
    #: The last line of standard error.
    error: str | None


def captured(golden: Path, name: str) -> Captured:
    """One captured run; its paths are relative to the folder of golden files."""
    command, _, rest = (golden / "cli_outputs" / f"{name}.txt").read_text().partition("\n")
    end = _END.search(rest)
    assert end, name
    _, *arguments = shlex.split(command.removeprefix("$ "))
    return Captured(arguments, sorted_sets(rest[: end.start()]), int(end[1]), end[2])


def sorted_sets(text: str) -> str:
    """The text with each set in the order of its names."""
    return _SET.sub(lambda match: "{" + ", ".join(sorted(match[1].split(", "))) + "}", text)

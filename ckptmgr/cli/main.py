"""The program: picks the subcommand, and turns every failure into one line and a status.

0    done
1    it could not be done, standard error says why; or `verify` found something damaged, or
     `saved-model scan` something suspicious
2    the command line is wrong
130  interrupted (128 + SIGINT, as a shell reports it)
141  whoever read the output has gone (128 + SIGPIPE)
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys

from ckptmgr import __version__, errors
from ckptmgr.cli import freeze, inspect, ls, repair, saved_model, show, verify
from ckptmgr.cli.command import Command, add_commands
from ckptmgr.cli.wording import printable

COMMANDS: tuple[Command, ...] = (
    ls.COMMAND,
    show.COMMAND,
    verify.COMMAND,
    repair.COMMAND,
    inspect.COMMAND,
    saved_model.COMMAND,
    freeze.COMMAND,
)

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(argv: list[str] | None = None) -> int:
    """Run one command line, by default the process's own; returns the exit status."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("ckptmgr: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A tensor may have a name that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (errors.CheckpointError, OSError) as error:
        sys.stderr.write(f"ckptmgr: {printable(str(error))}\n")
        return _FAILED
    return status


class _Printable(logging.Formatter):
    """Warnings quote what files say, which must not steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(super().formatMessage(record))


def _run(argv: list[str] | None) -> int:
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as done:  # argparse has printed help, a version or what is wrong
        return done.code if isinstance(done.code, int) else _USAGE
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return _USAGE
    command: Command = arguments.command
    return command.run(arguments, sys.stdout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ckptmgr",
        description="Look at the checkpoints of a training run, and repair their directory.",
    )
    parser.add_argument("--version", action="version", version=f"ckptmgr {__version__}")
    add_commands(parser, COMMANDS, dest="command", required=False)
    return parser

"""`ckptmgr saved-model ...`: looks at a SavedModel and runs it, with saved_model_cli's flags."""

from __future__ import annotations

import argparse
from typing import TextIO

from ckptmgr.cli import saved_model_run, saved_model_scan, saved_model_show
from ckptmgr.cli.command import Command, add_commands

COMMANDS: tuple[Command, ...] = (
    saved_model_show.COMMAND,
    saved_model_run.COMMAND,
    saved_model_scan.COMMAND,
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS, dest="saved_model_command", required=True)


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    command: Command = arguments.saved_model_command
    return command.run(arguments, out)


COMMAND = Command("saved-model", "look at a SavedModel, or run it", _add_arguments, _run)

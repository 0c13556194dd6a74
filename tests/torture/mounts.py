"""Real file systems of a few megabytes, for as long as a test lasts; only root may mount them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CannotMount(Exception):
    """Why this machine does not allow it."""


@contextmanager
def tmpfs(at: Path, size_bytes: int) -> Iterator[Path]:
    """Memory that is full after so many bytes; it has no O_DIRECT on older systems."""
    at.mkdir()
    with _mounted(at, "-t", "tmpfs", "-o", f"size={size_bytes}", "none"):
        yield at


@contextmanager
def ext4(at: Path, size_bytes: int) -> Iterator[Path]:
    """A disk in a file, without the part that ext4 reserves for root."""
    image = at.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    at.mkdir()
    with _mounted(at, "-o", "loop", str(image)):
        yield at


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """The directory as a file system that refuses every change, also to root."""
    with _mounted(directory, "--bind", str(directory)):
        _run("mount", "-o", "remount,ro,bind", str(directory))
        yield


@contextmanager
def _mounted(at: Path, *arguments: str) -> Iterator[None]:
    _run("mount", *arguments, str(at))
    try:
        yield
    finally:
        # Lazily: a test that failed may have left a file open, and the mount must not outlive it.
        _run("umount", "--lazy", str(at))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotMount(f"there is no {command[0]}") from None
    if done.returncode != 0:
        raise CannotMount(f"{command[0]}: {done.stderr.strip()}")

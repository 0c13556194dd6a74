from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptmgr import naming
from ckptmgr.lifecycle.registrations import WriterRegistrations
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.storage import PosixStorage


def register(registrations: WriterRegistrations, path: Path | str) -> RunDirectory:
    directory = registrations.directory(str(path))
    directory.create()
    with directory.locked():
        directory.register_writer()
    return directory


def writers(path: Path) -> list[str]:
    return os.listdir(naming.writers_directory(str(path)))


def test_each_directory_once(tmp_path: Path) -> None:
    registrations = WriterRegistrations(PosixStorage())
    one, other = (register(registrations, tmp_path / name) for name in ("one", "other"))
    assert one is not other
    assert register(registrations, tmp_path / "one") is one
    assert writers(tmp_path / "one") == [one.token]


def test_they_end_with_their_owner(tmp_path: Path) -> None:
    registrations = WriterRegistrations(PosixStorage())
    register(registrations, tmp_path)
    del registrations
    gc.collect()
    assert writers(tmp_path) == []


def test_a_directory_that_went_away_is_no_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registrations = WriterRegistrations(PosixStorage())
    directory = register(registrations, tmp_path / "run")
    os.rename(tmp_path / "run", tmp_path / "moved")
    (tmp_path / "run").write_text("a file")
    del registrations, directory
    gc.collect()
    assert capsys.readouterr().err == ""


PROGRAM = """
import sys
from ckptmgr.lifecycle.registrations import WriterRegistrations
from ckptmgr.storage import PosixStorage
registrations = WriterRegistrations(PosixStorage())
directory = registrations.directory(sys.argv[1])
directory.create()
with directory.locked():
    directory.register_writer()
print(directory.is_registered)
"""


def test_they_end_with_the_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert writers(tmp_path) == []


# In a process of its own: frameworks that other tests have loaded start threads, which do not
# survive a fork.
FORKING_WRITER = """
import os, sys
from ckptmgr import naming
from ckptmgr.lifecycle.registrations import WriterRegistrations
from ckptmgr.storage import PosixStorage
path = sys.argv[1]

def register():
    directory = registrations.directory(path)
    directory.create()
    with directory.locked():
        directory.register_writer()
    return directory

def writers():
    return sorted(os.listdir(naming.writers_directory(path)))

registrations = WriterRegistrations(PosixStorage())
parents = register().token
child = os.fork()
if child == 0:
    ours = register()
    assert ours.token != parents
    assert writers() == sorted([parents, ours.token])
    ours.close()
    assert writers() == [parents]
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(registrations.directory(path).is_registered)
"""


def test_a_fork_registers_on_its_own_and_ends_nothing_of_its_parents(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING_WRITER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def pickled(registrations: WriterRegistrations) -> Any:
    return pickle.loads(pickle.dumps(registrations))  # noqa: S301 - our own


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_begins_without_any(
    tmp_path: Path, duplicate: Callable[[WriterRegistrations], WriterRegistrations]
) -> None:
    registrations = WriterRegistrations(PosixStorage())
    register(registrations, tmp_path)
    copied = duplicate(registrations)
    assert not copied.directory(str(tmp_path)).is_registered
    register(copied, tmp_path)
    assert len(writers(tmp_path)) == 2
    del copied
    gc.collect()
    assert registrations.directory(str(tmp_path)).is_registered


def test_a_relative_path_is_another_directory_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registrations = WriterRegistrations(PosixStorage())
    for place in ("one", "other", "one"):
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        register(registrations, "run")
    assert len(writers(tmp_path / "one" / "run")) == len(writers(tmp_path / "other" / "run")) == 1

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ckptmgr import errors, naming
from ckptmgr.lifecycle.run_directory import RunDirectory, hold
from ckptmgr.storage import FaultInjectingStorage, MemoryStorage, PosixStorage, Storage


@pytest.fixture(params=["posix", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, str]:
    if request.param == "posix":
        return PosixStorage(), str(tmp_path / "run")
    return MemoryStorage(), "/run"


def touch(storage: Storage, path: str) -> None:
    storage.create(path).close()


def test_nothing_is_made_before_it_is_asked_for(place: tuple[Storage, str]) -> None:
    storage, path = place
    directory = RunDirectory(storage, path)
    assert storage.stat(path) is None
    directory.create()
    assert storage.list_dir(path) == []


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    directory = RunDirectory(PosixStorage(), str(tmp_path / "run"))
    with pytest.raises(errors.NotADirectory, match="run is a file; a directory of checkpoints"):
        directory.refuse_file()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("m-1", "m-1 is the prefix of a checkpoint; its directory {} is wanted"),
        ("m-1.index", "m-1.index is a file; its directory {} is wanted"),
        ("m-1.data-00000-of-00001", "m-1.data-00000-of-00001 is a file; its directory {} is"),
        ("checkpoint", "checkpoint is a file; its directory {} is wanted"),
        ("notes.txt", "notes.txt is a file; a directory of checkpoints is wanted"),
    ],
)
def test_the_directory_that_is_meant_is_named(
    place: tuple[Storage, str], path: str, message: str
) -> None:
    storage, run = place
    storage.make_dirs(run)
    for name in ("m-1.index", "m-1.data-00000-of-00001", "checkpoint", "notes.txt"):
        touch(storage, f"{run}/{name}")
    directory = RunDirectory(storage, f"{run}/{path}")
    with pytest.raises(errors.NotADirectory, match=message.format(run)):
        directory.require()


def test_a_missing_directory_is_named(place: tuple[Storage, str]) -> None:
    storage, path = place
    with pytest.raises(errors.FileMissing, match=f"directory {path} does not exist"):
        RunDirectory(storage, path).require()


def test_the_first_save_removes_temporaries_without_an_owner(place: tuple[Storage, str]) -> None:
    # After a power cut a temporary may be there though its writer's entry is not.
    storage, path = place
    directory = RunDirectory(storage, path)
    directory.create()
    orphan = naming.temporary(f"{path}/m-1.index", naming.new_token())
    others = [f"{path}/m-1.index.tmp-short", f"{path}/m-2.index", f"{path}/notes.txt"]
    for name in (orphan, *others):
        touch(storage, name)
    with directory.locked():
        directory.register_writer()
    kept = [naming.base_of(name) for name in others]
    assert storage.list_dir(path) == sorted([".ckptmgr", *kept])


def test_a_living_writer_keeps_its_temporaries(place: tuple[Storage, str]) -> None:
    storage, path = place
    living, other = RunDirectory(storage, path), RunDirectory(storage, path)
    living.create()
    with living.locked():
        living.register_writer()
    mine = naming.temporary(f"{path}/m-1.index", living.token)
    touch(storage, mine)
    with other.locked():
        other.register_writer()
        other.remove_leftovers()
    assert storage.stat(mine) is not None
    living.close()
    with other.locked():
        other.remove_leftovers()
    assert storage.list_dir(naming.writers_directory(path)) == [other.token]


def test_shards_of_an_index_that_was_never_renamed_go_too(place: tuple[Storage, str]) -> None:
    storage, path = place
    dead, directory = RunDirectory(storage, path), RunDirectory(storage, path)
    directory.create()
    # m-1 never existed; m-2 does, and its shards are not the dead writer's.
    for name in ("m-1.data-00000-of-00001", "m-2.data-00000-of-00001", "m-2.index"):
        touch(storage, f"{path}/{name}")
    for base in ("m-1", "m-2"):
        touch(storage, naming.temporary(f"{path}/{base}.index", dead.token))
    with directory.locked():
        directory.register_writer()
    assert storage.list_dir(path) == [".ckptmgr", "m-2.data-00000-of-00001", "m-2.index"]


WRITER = """
import sys, time
from ckptmgr import naming
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.storage import PosixStorage
path = sys.argv[1]
directory = RunDirectory(PosixStorage(), path)
directory.create()
with directory.locked():
    directory.register_writer()
PosixStorage().create(naming.temporary(path + "/m-1.index", directory.token)).close()
if len(sys.argv) > 2:
    PosixStorage().create(path + "/m-2.index").close()
    held = directory.hold("m-2")
    held.__enter__()
print("ready", flush=True)
time.sleep(60)
"""


def start(path: Path, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    path = tmp_path / "run"
    doomed, living = start(path), start(path)
    directory = RunDirectory(PosixStorage(), str(path))
    try:
        with directory.locked():
            directory.register_writer()
        assert len([n for n in os.listdir(path) if ".tmp-" in n]) == 2
        kill(doomed)
        with directory.locked():
            directory.remove_leftovers()
        assert len([n for n in os.listdir(path) if ".tmp-" in n]) == 1
        assert len(os.listdir(naming.writers_directory(str(path)))) == 2
    finally:
        kill(living)


def test_a_hold_goes_away_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run"
    holder = start(path, "hold")
    directory = RunDirectory(PosixStorage(), str(path))
    with directory.locked():
        assert directory.held_bases() == {"m-2"}
    kill(holder)
    with directory.locked():
        assert directory.held_bases() == set()
    assert os.listdir(naming.holds_directory(str(path))) == []


def test_a_checkpoint_can_be_held_by_many(place: tuple[Storage, str]) -> None:
    storage, path = place
    directory = RunDirectory(storage, path)
    directory.create()
    touch(storage, f"{path}/m-1.index")
    with hold(f"{path}/m-1", storage=storage) as prefix:
        assert prefix == f"{path}/m-1"
        with hold(f"{path}/m-1", storage=storage):
            pass
        with directory.locked():
            assert directory.held_bases() == {"m-1"}
    with directory.locked():
        assert directory.held_bases() == set()


def test_what_is_not_there_cannot_be_held(place: tuple[Storage, str]) -> None:
    storage, path = place
    with (
        pytest.raises(errors.CheckpointNotFound, match=f"the directory {path} does not exist"),
        hold(f"{path}/m-1", storage=storage),
    ):
        pass
    assert storage.stat(path) is None
    RunDirectory(storage, path).create()
    with (
        pytest.raises(errors.CheckpointNotFound, match=f"cannot hold {path}/m-1: no checkpoint at"),
        hold(f"{path}/m-1", storage=storage),
    ):
        pass


def test_what_was_meant_to_be_held(place: tuple[Storage, str]) -> None:
    storage, path = place
    storage.make_dirs(path)
    touch(storage, f"{path}/m-100.index")
    touch(storage, f"{path}/v1")
    before = storage.list_dir(path)
    for wrong, message in {
        path: f"this is a directory; give the prefix of a checkpoint in it, such as '{path}/m-100'",
        f"{path}/m-100.index": f"this is one file of a checkpoint; give the prefix '{path}/m-100'",
        f"{path}/m-10": "m-10.index does not exist. Did you mean",
        f"{path}/v1": "cannot hold",
    }.items():
        with (
            pytest.raises((errors.CheckpointNotFound, errors.CorruptCheckpoint)) as caught,
            hold(wrong, storage=storage),
        ):
            pass
        if isinstance(caught.value, errors.CheckpointNotFound):
            assert str(caught.value).startswith(f"cannot hold {wrong}: ")
            assert message in str(caught.value)
    assert storage.list_dir(path) == before


def test_marks_are_set_and_taken_off(place: tuple[Storage, str]) -> None:
    storage, path = place
    directory = RunDirectory(storage, path)
    directory.create()
    for marks, base in ((directory.pins, "m-1"), (directory.deleting, "m-2")):
        assert marks.names() == []
        for _ in range(2):  # the second time changes nothing
            marks.add(base)
            assert marks.names() == [base]
        for _ in range(2):
            marks.remove(base)
            assert marks.names() == []


def test_leftovers_in_our_own_directory_go_too(place: tuple[Storage, str]) -> None:
    storage, path = place
    directory = RunDirectory(storage, path)
    directory.create()
    with directory.locked():
        touch(storage, naming.temporary(naming.retention_file(path), naming.new_token()))
        directory.register_writer()
    assert storage.list_dir(naming.internal_directory(path)) == ["lock", "writers"]


def test_a_writer_that_closes_during_the_sweep_disturbs_nobody(tmp_path: Path) -> None:
    class ClosesLate(PosixStorage):
        def unlink(self, path: str) -> None:
            if path.endswith(closing.token):
                os.unlink(path)  # what its own close() was about to do
            super().unlink(path)

    path = str(tmp_path)
    closing, directory = RunDirectory(PosixStorage(), path), RunDirectory(ClosesLate(), path)
    directory.create()
    with directory.locked():
        touch(directory.storage, naming.temporary(f"{path}/m-1.index", closing.token))
        os.makedirs(naming.writers_directory(path))
        touch(directory.storage, naming.writer_file(path, closing.token))
        directory.register_writer()
    assert os.listdir(path) == [".ckptmgr"]


# In a process of its own: frameworks that other tests have loaded start threads, which do not
# survive a fork.
FORKING_HOLDER = """
import os, sys
from ckptmgr.lifecycle.run_directory import RunDirectory, hold
from ckptmgr.storage import PosixStorage
path = sys.argv[1]
with hold(f"{path}/m-1"):
    child = os.fork()
    if child != 0:
        assert os.waitpid(child, 0)[1] == 0
        directory = RunDirectory(PosixStorage(), path)
        with directory.locked():
            print(directory.held_bases())
"""


def test_a_fork_that_leaves_the_block_ends_no_hold(tmp_path: Path) -> None:
    touch(PosixStorage(), f"{tmp_path}/m-1.index")
    done = subprocess.run(
        [sys.executable, "-c", FORKING_HOLDER, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'m-1'}\n", "")


# --------------------------------------------------------------------------- it changes under us


def registered(storage: Storage, path: str) -> RunDirectory:
    directory = RunDirectory(storage, path)
    directory.create()
    with directory.locked():
        directory.register_writer()
    return directory


@pytest.mark.parametrize("gone", ["run", "run/.ckptmgr"])
def test_removed_in_the_middle_of_a_save(tmp_path: Path, gone: str) -> None:
    directory = registered(PosixStorage(), str(tmp_path / "run"))
    shutil.rmtree(tmp_path / gone)
    message = f"directory {tmp_path / gone} was removed while training saved into it"
    with pytest.raises(errors.FileMissing, match=message), directory.locked():
        pass
    assert not (tmp_path / gone).exists()
    token = directory.token
    directory.create()  # as the next save does
    assert not directory.is_registered
    with directory.locked():
        directory.register_writer()
    assert os.listdir(naming.writers_directory(directory.path)) == [directory.token]
    assert directory.token != token


def test_a_save_that_failed_leaves_the_others_of_its_directory_alone(
    place: tuple[Storage, str],
) -> None:
    storage, path = place
    with RunDirectory(storage, path) as run:
        run.create()

        def save() -> str:
            with run.saving():
                with run.locked():
                    run.register_writer()
                return run.token

        def fail() -> None:
            with pytest.raises(ZeroDivisionError), run.saving():
                raise ZeroDivisionError

        token = save()
        with ThreadPoolExecutor(1) as other, run.saving():
            other.submit(fail).result()
            # We are in the middle of a save: what has our token is still to be published.
            assert other.submit(save).result() == token
        assert save() != token
        assert storage.stat(naming.writer_file(path, token)) is None


def test_a_save_that_failed_to_begin_is_not_taken_for_one_under_way(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, path = place
    with RunDirectory(storage, path) as run:
        run.create()

        def save() -> str:
            with run.saving():
                with run.locked():
                    run.register_writer()
                return run.token

        token = save()
        with monkeypatch.context() as patch:
            patch.setattr(run, "_entering", None)
            with pytest.raises((TypeError, AttributeError)), run.saving():
                pass
        with ThreadPoolExecutor(1) as other:
            assert other.submit(save).result() != token


FORKS_BEFORE_ITS_FIRST_SAVE = """
import os, sys
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.storage import PosixStorage

run = RunDirectory(PosixStorage(), sys.argv[1])

def save():
    with run.saving():
        run.create()
        with run.locked():
            run.register_writer()
        return run.token

told, tell = os.pipe()
child = os.fork()
if not child:
    os.read(told, 1)
    token = save()
    os._exit(int(save() != token))  # stays the same writer
token = save()
os.write(tell, b".")
print(os.waitpid(child, 0)[1], run.is_registered, save() == token)
"""


def test_a_fork_before_the_first_save_is_another_writer(tmp_path: Path) -> None:
    """With the token of its parent it would wait for the parent to end, and hold the lock."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKS_BEFORE_ITS_FIRST_SAVE, str(tmp_path)],
        check=True,
        timeout=60,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ended.stdout.split() == ["0", "True", "True"]


def test_a_writer_looks_for_links_once(tmp_path: Path) -> None:
    storage = FaultInjectingStorage(PosixStorage())
    with RunDirectory(storage, str(tmp_path)) as run:
        with run.locked():
            run.register_writer()
        before = len(storage.calls)
        with run.locked():
            pass
        looked = [call.path for call in storage.calls[before:] if call.method == "stat"]
        assert looked == [naming.writer_file(str(tmp_path), run.token)]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".ckptmgr" / "holds").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.StorageError, match="holds is a link"):
        run.locked()


def test_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    directory = registered(PosixStorage(), "run")
    absolute = registered(PosixStorage(), str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path / "other")
    message = (
        f"the working directory was {tmp_path} and is {tmp_path / 'other'} now, where 'run' is "
        f"another directory; change back, or give an absolute path"
    )
    with pytest.raises(errors.InvalidArgument, match=message), directory.locked():
        pass
    with pytest.raises(errors.InvalidArgument, match=message):
        directory.create()
    assert os.listdir(tmp_path / "other") == []
    with absolute.locked():
        pass
    monkeypatch.chdir(tmp_path)
    with directory.locked():
        assert directory.is_registered


def test_a_working_directory_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    directory = RunDirectory(PosixStorage(), "run")
    os.rmdir(tmp_path / "here")
    with pytest.raises(errors.InvalidArgument, match="is a directory that was removed now"):
        directory.create()

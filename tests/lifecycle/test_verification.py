from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmgr
from ckptmgr import CheckpointManager, PartitionedVariable, Saver, errors, naming
from ckptmgr.formats.sealed_message import SEAL_BYTES
from ckptmgr.graph import Graph, Session, Variable
from ckptmgr.graph import Saver as GraphSaver
from ckptmgr.lifecycle.metadata import METADATA_NAME
from ckptmgr.lifecycle.verification import Finding, Verification
from ckptmgr.storage import (
    Fault,
    FaultInjectingStorage,
    FileLock,
    MemoryStorage,
    PosixStorage,
    WritableFile,
)
from ckptmgr.storage.lock import KernelLock

DEAD = "0" * 32
SHARD = "model.ckpt-2.data-00000-of-00001"
INDEX = "model.ckpt-2.index"


def save_steps(directory: Path | str, *steps: int, **arguments: Any) -> None:
    with CheckpointManager(None, directory, durability="none", **arguments) as manager:
        for step in steps:
            state = {"big": np.arange(50_000.0), "small": np.full(3, step), "text": "long" * 9}
            manager.save(step, state)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def place_of(directory: Path, tensor: str) -> int:
    """Where a tensor of step 2 begins in its shard."""
    with ckptmgr.CheckpointReader(directory / "model.ckpt-2") as reader:
        entry = reader.entry(tensor)
    return entry.offset  # type: ignore[union-attr]


# --------------------------------------------------------------------------- what is whole


@pytest.mark.parametrize(
    "arguments",
    [{}, {"max_to_keep": 1, "keep_every_n_steps": 2}, {"deduplicate": True}, {"max_to_keep": None}],
)
def test_a_whole_directory_is_silent_and_stays_as_it_is(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    save_steps(tmp_path, 1, 2, 3, **arguments)
    before = snapshot(tmp_path)

    verification = ckptmgr.verify(tmp_path)

    assert verification.is_whole
    assert (verification.damage, verification.leftovers) == ((), ())
    assert [c.prefix for c in verification.checkpoints] == [
        c.removesuffix(".index") for c in sorted(map(str, tmp_path.glob("*.index")))
    ]
    assert all(c.is_whole and c.num_tensors == 4 and c.managed for c in verification.checkpoints)
    assert snapshot(tmp_path) == before


def test_what_the_state_does_not_name_is_no_damage(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2, 3, max_to_keep=1, keep_every_n_steps=2)
    listed = [(c.step, c.listed) for c in ckptmgr.verify(tmp_path).checkpoints]
    assert listed == [(2, False), (3, True)]


@pytest.mark.parametrize(
    ("prefix", "num_tensors"),
    [
        ("v2_multi/model", None),
        ("v2_variant/model", None),
        ("v2_partitioned/model", None),
        ("v2_sharded/model-3", 4),
        ("obj_ckpt/ckpt-3", None),
        ("v1_ckpt/model.ckpt-10", 16),
        ("v1_ckpt/shard.ckpt-10-?????-of-00002", None),
        ("handmade/big_endian", None),
        ("handmade/absent_shards", None),
    ],
)
def test_what_tensorflow_wrote_is_whole(golden: Path, prefix: str, num_tensors: int | None) -> None:
    (checkpoint,) = ckptmgr.verify(golden / prefix).checkpoints
    assert checkpoint.damage == ()
    assert checkpoint.num_tensors >= 1
    assert num_tensors in (None, checkpoint.num_tensors)


def test_in_any_storage() -> None:
    storage = MemoryStorage()
    with CheckpointManager({"w": np.zeros(3)}, "run", storage=storage) as manager:
        manager.save(1)
    assert ckptmgr.verify("run", storage=storage).is_whole
    assert ckptmgr.verify("run/model.ckpt-1", storage=storage).is_whole


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(errors.CheckpointNotFound, match="no checkpoint at"):
        ckptmgr.verify(tmp_path / "nothing")
    (tmp_path / "checkpoint").touch()
    with pytest.raises(errors.CheckpointNotFound, match="this is the checkpoint state of its dir"):
        ckptmgr.verify(tmp_path / "checkpoint")
    (tmp_path / "checkpoint").unlink()
    assert ckptmgr.verify(tmp_path) == Verification(str(tmp_path), ())


def test_progress_grows_to_the_size_of_everything(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    told: list[tuple[str, int, int]] = []

    verification = ckptmgr.verify(tmp_path, on_progress=lambda *said: told.append(said))

    total_bytes = sum(c.size_bytes for c in verification.checkpoints)
    assert {prefix for prefix, _, _ in told} == {c.prefix for c in verification.checkpoints}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert {total for _, _, total in told} == {total_bytes}
    assert total_bytes * 0.9 < told[-1][1] <= total_bytes


# --------------------------------------------------------------------------- what is damaged


def flip_in(tensor: str) -> Callable[[Path], None]:
    return lambda directory: flip(directory / SHARD, place_of(directory, tensor))


def cut_in(tensor: str) -> Callable[[Path], None]:
    def cut(directory: Path) -> None:
        os.truncate(directory / SHARD, place_of(directory, tensor) + 1)

    return cut


@pytest.mark.parametrize(
    ("damage", "kind", "filename", "tensors"),
    [
        (flip_in("big"), "ChecksumMismatch", SHARD, ["big"]),
        (flip_in("small"), "ChecksumMismatch", SHARD, ["small"]),
        (flip_in(METADATA_NAME), "MalformedTensor", SHARD, [METADATA_NAME]),
        (cut_in("text"), "TruncatedFile", SHARD, ["text"]),
        (
            lambda directory: (directory / SHARD).unlink(),
            "MissingShard",
            SHARD,
            [METADATA_NAME, "big", "small", "text"],
        ),
        (lambda directory: flip(directory / INDEX, -1), "NotATable", INDEX, [None]),
        (lambda directory: flip(directory / INDEX, 30), "ChecksumMismatch", INDEX, [None]),
        (lambda directory: (directory / INDEX).write_bytes(b""), "TruncatedFile", INDEX, [None]),
        (lambda directory: os.truncate(directory / INDEX, 100), "NotATable", INDEX, [None]),
    ],
)
def test_each_kind_of_damage_is_found_where_it_is(
    tmp_path: Path,
    damage: Callable[[Path], None],
    kind: str,
    filename: str,
    tensors: list[str | None],
) -> None:
    save_steps(tmp_path, 1, 2, 3)
    damage(tmp_path)

    verification = ckptmgr.verify(tmp_path)

    assert not verification.is_whole
    assert [c.step for c in verification.checkpoints if not c.is_whole] == [2]
    found = verification.damage
    assert {(finding.kind, finding.path) for finding in found} == {(kind, str(tmp_path / filename))}
    assert sorted(finding.tensor or "" for finding in found) == [tensor or "" for tensor in tensors]
    assert ckptmgr.verify(tmp_path / "model.ckpt-2").damage == found


def test_every_damaged_tensor_is_told(tmp_path: Path) -> None:
    state = {f"w{number:03}": np.full(40, number) for number in range(100)}
    state["large"] = np.zeros(100_000, np.int64)
    prefix = Saver(state).save(str(tmp_path / "model"))
    assert prefix is not None
    shard = Path(naming.data_shard(prefix, 0, 1))
    damaged = ["large", "w003", "w004", "w099"]
    with ckptmgr.CheckpointReader(prefix) as reader:
        places = {name: reader.entry(name).offset for name in damaged}  # type: ignore[union-attr]
    for place in places.values():
        flip(shard, place)

    found = ckptmgr.verify(prefix).damage

    assert sorted(str(finding.tensor) for finding in found) == damaged
    assert {finding.kind for finding in found} == {"ChecksumMismatch"}
    assert all(f.expected != f.found and str(f.found).startswith("0x") for f in found)


def test_a_slice_of_a_partitioned_tensor(tmp_path: Path) -> None:
    parts = [((0, 0), np.ones((2, 2), np.float32)), ((2, 0), np.full((1, 2), 2, np.float32))]
    prefix = Saver({"p": PartitionedVariable((3, 2), parts)}).save(str(tmp_path / "model"))
    assert prefix is not None
    shard = Path(naming.data_shard(prefix, 0, 1))
    os.truncate(shard, shard.stat().st_size - 1)

    (finding,) = ckptmgr.verify(prefix).damage

    assert (finding.kind, finding.path, finding.tensor) == ("TruncatedFile", str(shard), "p")


def test_v1(golden: Path, tmp_path: Path) -> None:
    shutil.copy(golden / "v1_ckpt" / "model.ckpt-10", tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-10"')
    assert ckptmgr.verify(tmp_path).is_whole
    flip(tmp_path / "model.ckpt-10", 100)

    (finding,) = ckptmgr.verify(tmp_path).damage

    assert (finding.kind, finding.path) == ("ChecksumMismatch", str(tmp_path / "model.ckpt-10"))


def save_graph(directory: Path) -> Path:
    """Save step 2 with a graph; the path of the graph."""
    with Graph().as_default(), Session() as session:
        session.run(Variable([1.0, 2.0], name="w").initializer)
        return Path(f"{GraphSaver().save(session, str(directory / 'model.ckpt'), 2)}.meta")


def test_a_whole_graph_is_silent(tmp_path: Path) -> None:
    meta = save_graph(tmp_path)
    assert ckptmgr.verify(tmp_path).is_whole
    content = meta.read_bytes()[SEAL_BYTES:]  # as TensorFlow would have written it
    meta.write_bytes(content)
    assert ckptmgr.verify(tmp_path).is_whole


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda content: content[:-1], "ChecksumMismatch"),
        (lambda content: content[:5], "TruncatedFile"),
        (lambda content: b"", "TruncatedFile"),
        (lambda content: content[:-1] + b"?", "ChecksumMismatch"),
    ],
    ids=["cut", "cut in the checksum", "empty", "changed"],
)
def test_a_damaged_graph_is_found(
    tmp_path: Path, change: Callable[[bytes], bytes], kind: str
) -> None:
    meta = save_graph(tmp_path)
    meta.write_bytes(change(meta.read_bytes()))
    flip(tmp_path / SHARD, 0)
    kinds = [(finding.kind, finding.path) for finding in ckptmgr.verify(tmp_path).damage]
    assert kinds == [("ChecksumMismatch", str(tmp_path / SHARD)), (kind, str(meta))]


def test_a_finding_reads_like_its_error(tmp_path: Path) -> None:
    save_steps(tmp_path, 2)
    flip(tmp_path / SHARD, place_of(tmp_path, "big"))
    (finding,) = ckptmgr.verify(tmp_path).damage
    with (
        pytest.raises(errors.ChecksumMismatch) as raised,
        ckptmgr.CheckpointReader(tmp_path / "model.ckpt-2") as reader,
    ):
        reader.verify()
    assert str(finding) == str(raised.value)


# --------------------------------------------------------------------------- the directory


@pytest.mark.parametrize(
    ("content", "kind", "expected", "found"),
    [
        (b"junk", "MalformedState", "a field of CheckpointState in protobuf text format", "'junk'"),
        (b"", "MalformedState", "a model_checkpoint_path", None),
        (
            b'model_checkpoint_path: "model.ckpt-7"',
            "StateMismatch",
            "{}/model.ckpt-7",
            "no such file",
        ),
        (
            b'model_checkpoint_path: "/old/place/model.ckpt-2"',
            "StateMismatch",
            "/old/place/model.ckpt-2",
            "{}/model.ckpt-2",
        ),
        (
            b"""model_checkpoint_path: "model.ckpt-2"
            all_model_checkpoint_paths: ["model.ckpt-1", "model.ckpt-2"]
            all_model_checkpoint_timestamps: 1.5""",
            "StateMismatch",
            "2 timestamps, or none",
            "1 timestamps",
        ),
        (None, "StateMismatch", None, None),
    ],
)
def test_a_state_that_is_wrong(
    tmp_path: Path, content: bytes | None, kind: str, expected: str | None, found: str | None
) -> None:
    save_steps(tmp_path, 1, 2)
    path = tmp_path / "checkpoint"
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    verification = ckptmgr.verify(tmp_path)

    (finding,) = verification.state
    assert verification.damage == (finding,)
    assert (finding.kind, finding.path) == (kind, str(path))
    assert (finding.expected, finding.found) == (
        expected and expected.format(tmp_path),
        found and found.format(tmp_path),
    )


def test_a_saver_need_not_write_a_state(tmp_path: Path) -> None:
    Saver({"w": np.zeros(2)}).save(str(tmp_path / "variables"), write_state=False)
    assert ckptmgr.verify(tmp_path).is_whole


def test_what_crashes_have_left_over_is_no_damage(tmp_path: Path) -> None:
    save_steps(tmp_path, 1, 2)
    temporary = tmp_path / f"model.ckpt-3.index.tmp-{DEAD}"
    unnamed = tmp_path / "model.ckpt-3.data-00000-of-00001"
    orphan = tmp_path / "model.ckpt-4.data-00000-of-00001"
    for path in (temporary, unnamed, orphan):
        path.touch()
    (tmp_path / ".ckptmgr" / "deleting").mkdir(exist_ok=True)
    (tmp_path / ".ckptmgr" / "deleting" / "model.ckpt-1").touch()

    verification = ckptmgr.verify(tmp_path)

    assert verification.is_whole
    assert [(finding.kind, Path(finding.path).name) for finding in verification.leftovers] == [
        ("Leftover", unnamed.name),
        ("Leftover", temporary.name),
        ("Leftover", orphan.name),
        ("Leftover", "model.ckpt-1"),
    ]


def test_what_a_living_writer_writes_is_not_left_over(tmp_path: Path) -> None:
    manager = CheckpointManager({"w": np.zeros(1)}, tmp_path)
    manager.save(1)
    token = manager._directory.token
    (tmp_path / f"model.ckpt-2.index.tmp-{token}").touch()
    assert ckptmgr.verify(tmp_path).leftovers == ()
    manager.close()
    (finding,) = ckptmgr.verify(tmp_path).leftovers
    assert finding.path.endswith(token)


class _Refused(KernelLock):
    def _attempt(self, limit_secs: float | None) -> bool:
        raise errors.PermissionDenied(13, "Permission denied", self._path)


class ReadOnlyStorage(PosixStorage):
    """As of another user: nothing can be made or locked."""

    def create(self, path: str) -> WritableFile:
        raise AssertionError(f"creates {path}")

    def unlink(self, path: str) -> None:
        raise AssertionError(f"unlinks {path}")

    def lock(self, path: str) -> FileLock:
        return _Refused(path)


def test_a_read_only_directory(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    (tmp_path / f"model.ckpt-2.index.tmp-{DEAD}").touch()
    (tmp_path / f"model.ckpt-3.index.tmp-{'1' * 32}").touch()
    (tmp_path / ".ckptmgr" / "writers" / ("1" * 32)).touch()

    verification = ckptmgr.verify(tmp_path, storage=ReadOnlyStorage())

    assert verification.is_whole
    # Whose writer has an entry may be written at this moment.
    assert [f.path for f in verification.leftovers] == [
        str(tmp_path / f"model.ckpt-2.index.tmp-{DEAD}")
    ]


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    class Broken(PosixStorage):
        def open(self, path: str) -> Any:
            if path.endswith(SHARD):
                raise errors.StorageError(5, f"cannot open {path}: Input/output error", path)
            return super().open(path)

    save_steps(tmp_path, 1, 2)
    (finding,) = ckptmgr.verify(tmp_path, storage=Broken()).damage
    shard = str(tmp_path / SHARD)
    assert finding == Finding("StorageError", shard, f"cannot open {shard}: Input/output error")


@pytest.mark.parametrize(
    ("refused", "damaged"),
    [
        (errno.EACCES, False),
        (errno.EPERM, False),
        (errno.EMFILE, False),
        (errno.EIO, True),
        (errno.ELOOP, True),
    ],
)
@pytest.mark.parametrize("file", ["index", "data-00000-of-00001"])
def test_what_may_not_be_read_is_no_damage(
    tmp_path: Path, refused: int, damaged: bool, file: str
) -> None:
    save_steps(tmp_path, 1, 2)
    path = str(tmp_path / f"model.ckpt-2.{file}")
    faults = [Fault(error=refused, method="open", path=path.__eq__, lasting=True)]
    one, two = ckptmgr.verify(
        tmp_path, storage=FaultInjectingStorage(PosixStorage(), faults)
    ).checkpoints
    assert (one.is_whole, one.is_damaged) == (True, False)
    assert (two.is_whole, two.is_damaged) == (False, damaged)

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr.bundle.checkpoint_reader import UNREADABLE_DTYPE, CheckpointReader
from ckptmgr.bundle.v1_writer import stage_v1
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from ckptmgr.storage import MemoryStorage, Storage
from tests.bundle import cases

FULL = np.arange(12, dtype=np.float32).reshape(4, 3)
TENSORS = {
    "scalar": np.array(2.5, np.float32),
    "text": np.array(b"hello", object),
    "texts": cases.strings(b"a", b"bcd"),
    "w": FULL,
    "half": np.ones((2, 0), np.float16),
}


def save(storage: Storage, prefix: str, version: int, tensors: dict[str, Any] = TENSORS) -> str:
    named = [*cases.named(tensors), *cases.parts("p", FULL, np.s_[0:1, :], np.s_[1:4, :])]
    if version == 2:
        cases.save(storage, prefix, named)
        return prefix
    staged = stage_v1(storage, prefix, [named[::2], named[1::2]], cases.options())
    staged.publish()
    return staged.path


@pytest.fixture(params=[1, 2])
def reader(request: pytest.FixtureRequest) -> CheckpointReader:
    storage = MemoryStorage()
    return CheckpointReader(save(storage, "m", request.param), storage=storage)


# --------------------------------------------------------------------------- values


def test_get_tensor(reader: CheckpointReader) -> None:
    scalar = reader.get_tensor("scalar")
    assert type(scalar) is np.float32
    assert scalar == 2.5
    text = reader.get_tensor(b"text")
    assert type(text) is bytes
    assert text == b"hello"
    cases.assert_identical(reader.get_tensor("texts"), TENSORS["texts"])
    cases.assert_identical(reader.get_tensor("w"), FULL)
    cases.assert_identical(reader.get_tensor("p"), FULL)


def test_scalar_of_ml_dtypes() -> None:
    storage = MemoryStorage()
    save(storage, "m", 2, {"b": np.array(1.5, ml_dtypes.bfloat16)})
    assert type(CheckpointReader("m", storage=storage).get_tensor("b")) is ml_dtypes.bfloat16


def test_get_tensors(reader: CheckpointReader) -> None:
    assert list(reader.get_tensors()) == sorted([*TENSORS, "p"])
    some = reader.get_tensors(["w", b"text"])
    assert list(some) == ["w", "text"]
    assert some["text"] == b"hello"


def test_get_slice(reader: CheckpointReader) -> None:
    part = TensorSlice((Extent(0, 3), Extent(1, 1)))
    for name in ("w", "p"):
        cases.assert_identical(reader.get_slice(name, part), FULL[0:3, 1:2].copy())


@pytest.mark.parametrize(
    ("name", "found"),
    [("w", True), (b"w", True), ("p", True), ("zz", False), ("", False), (b"\xff", False)],
)
def test_has_tensor(reader: CheckpointReader, name: str | bytes, found: bool) -> None:
    assert reader.has_tensor(name) is found


def test_key_that_is_not_there(reader: CheckpointReader) -> None:
    with pytest.raises(errors.TensorNotFound, match="Key scaler not found in checkpoint m.*scalar"):
        reader.get_tensor("scaler")
    for missing in ("zz", b"\xff"):
        with pytest.raises(KeyError, match="not found"):
            reader.get_tensor(missing)
        with pytest.raises(errors.TensorNotFound):
            reader.num_bytes(missing)


# --------------------------------------------------------------------------- descriptions


def test_maps(reader: CheckpointReader) -> None:
    assert reader.get_variable_to_shape_map() == {
        "half": [2, 0],
        "p": [4, 3],
        "scalar": [],
        "text": [],
        "texts": [2],
        "w": [4, 3],
    }
    assert reader.get_variable_to_dtype_map() == {
        "half": np.dtype(np.float16),
        "p": np.dtype(np.float32),
        "scalar": np.dtype(np.float32),
        "text": np.dtype(object),
        "texts": np.dtype(object),
        "w": np.dtype(np.float32),
    }
    assert reader.dtype_name("half") == "float16"
    assert reader.dtype_name("text") == "string"
    assert len(reader.entry("p").slices) == 2


def test_num_bytes() -> None:
    storage = MemoryStorage()
    save(storage, "m", 2)
    with CheckpointReader("m", storage=storage) as reader:
        assert [reader.num_bytes(name) for name in ("w", "p", "scalar", "half")] == [48, 48, 4, 0]
        assert reader.num_bytes("text") == 1 + 4 + 5
    with CheckpointReader(save(storage, "v1", 1), storage=storage) as reader:
        assert 48 < reader.num_bytes("w") < 100
        assert 48 < reader.num_bytes("p") < 150


def test_dtypes_that_no_array_can_hold(golden: Path) -> None:
    with CheckpointReader(golden / "v2_variant" / "model") as reader:
        assert reader.get_variable_to_dtype_map()["lst"] == UNREADABLE_DTYPE
        assert reader.dtype_name("lst") == "variant"
        with pytest.raises(errors.UnsupportedDtype, match="tensor 'lst'"):
            reader.get_tensors()


def test_debug_string() -> None:
    storage = MemoryStorage()
    v1 = save(storage, "v1", 1)
    save(storage, "v2", 2)
    plain = (
        b"half (DT_HALF) [2,0]\n%bscalar (DT_FLOAT) []\ntext (DT_STRING) []\n"
        b"texts (DT_STRING) [2]\nw (DT_FLOAT) [4,3]\n"
    )
    with CheckpointReader(v1, storage=storage) as reader:
        assert reader.debug_string() == plain % b"p (DT_FLOAT) [4,3], 2 slices\n"
    with CheckpointReader("v2", storage=storage) as reader:
        slices, _, rest = reader.debug_string().partition(b"half")
        assert b"half" + rest == plain % b""
        assert slices == (
            b"\0p\0\1\1\2\x80\x81\x80\x83 (DT_FLOAT) [1,3]\n"
            b"\0p\0\1\1\2\x81\x83\x80\x83 (DT_FLOAT) [3,3]\n"
        )


# --------------------------------------------------------------------------- finding it


def test_v2_wins_over_v1() -> None:
    storage = MemoryStorage()
    stage_v1(storage, "m", [cases.named({"v": FULL})], cases.options()).publish()
    assert CheckpointReader("m", storage=storage).has_tensor("v")
    cases.save(storage, "m", cases.named({"w": FULL}))
    assert CheckpointReader("m", storage=storage).has_tensor("w")


def test_path_like(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt-1"
    from ckptmgr.storage import PosixStorage

    save(PosixStorage(), str(prefix), 2)
    with CheckpointReader(prefix) as reader:
        assert reader.prefix == str(prefix)
        reader.verify()


@pytest.fixture
def run() -> Storage:
    storage = MemoryStorage()
    for directory in ("run", "empty"):
        storage.make_dirs(directory)
    for step in (1, 2, 30):
        cases.save(storage, f"run/model.ckpt-{step}", cases.named({"w": FULL}))
    storage.create("run/model.ckpt-1.meta").close()
    stage_v1(storage, "run/old", [cases.named({"w": FULL})], cases.options()).publish()
    storage.create("run/old.meta").close()
    storage.create("run/checkpoint").write([b'model_checkpoint_path: "model.ckpt-30"\n' * 2], 0)
    storage.create("empty/checkpoint").close()
    return storage


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("run/model.ckpt-1.index", "give the prefix 'run/model.ckpt-1' instead"),
        ("run/model.ckpt-1.meta", "give the prefix 'run/model.ckpt-1' instead"),
        ("run/model.ckpt-1.data-00000-of-00001", "give the prefix 'run/model.ckpt-1' instead"),
        ("run/old.meta", "give the prefix 'run/old' instead"),
        ("run/model.ckpt-3", "model.ckpt-3.index does not exist. Did you mean 'run/model.ckpt-30'"),
        ("run/modle.ckpt-2", "Did you mean 'run/model.ckpt-2'"),
        ("run/none-?????-of-00002", "none of these files exists"),
        ("ran/model.ckpt-1", "the directory ran does not exist"),
        ("run", "this is a directory; .*such as 'run/model.ckpt-1' or 'run/model.ckpt-2'"),
        ("empty", "this is a directory; give the prefix of a checkpoint in it$"),
        ("empty/m", "empty/m.index does not exist.$"),
        ("run/model.ckpt-1.index/m", "run/model.ckpt-1.index/m.index does not exist"),
        ("run/checkpoint", "this is the checkpoint state of its directory run$"),
        ("empty/checkpoint", "this is the checkpoint state of its directory empty$"),
    ],
)
def test_not_found(run: Storage, path: str, message: str) -> None:
    with pytest.raises(errors.CheckpointNotFound, match=f"no checkpoint at .*{message}") as caught:
        CheckpointReader(path, storage=run)
    assert isinstance(caught.value, FileNotFoundError)


def test_file_of_another_format(run: Storage) -> None:
    file = run.create("run/notes.txt")
    file.write([b"not a checkpoint" * 10], 0)
    with pytest.raises(errors.NotATable, match="run/notes.txt: .*magic"):
        CheckpointReader("run/notes.txt", storage=run)


@pytest.mark.parametrize("name", [None, 3, ["w"]])
def test_not_a_name(reader: CheckpointReader, name: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="the name of a tensor must be a str, found"):
        reader.get_tensor(name)
    with pytest.raises(errors.InvalidArgument, match="the name of a tensor must be a str, found"):
        reader.get_tensors([name])


@pytest.mark.parametrize("names", ["w", b"w"])
def test_one_name_is_no_list_of_them(reader: CheckpointReader, names: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="names must be a list of names, found b?'w'"):
        reader.get_tensors(names)


@pytest.mark.parametrize("path", [None, 3, b"bytes", ""])
def test_not_a_path(path: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="a path must"):
        CheckpointReader(path)


def test_what_is_not_there_is_not_verified(reader: CheckpointReader) -> None:
    reader.verify(["w", "p"])
    with pytest.raises(errors.TensorNotFound, match="Key x not found"):
        reader.verify(["w", "x"])


def test_verify_names_the_damage(run: Storage) -> None:
    path = "run/model.ckpt-1.data-00000-of-00001"
    run.unlink(path)
    file = run.create(path)
    file.write([bytes(48)], 0)
    with (
        CheckpointReader("run/model.ckpt-1", storage=run) as reader,
        pytest.raises(errors.ChecksumMismatch) as caught,
    ):
        reader.verify()
    assert (caught.value.path, caught.value.tensor) == (path, "w")

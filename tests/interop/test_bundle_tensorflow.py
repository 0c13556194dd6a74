"""TensorFlow reads what we write, we read what TensorFlow writes, and where both write, the bytes
are the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptmgr import naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.bundle.layout import NamedTensor
from ckptmgr.bundle.v1_writer import stage_v1
from ckptmgr.formats import dtypes
from ckptmgr.formats.tensor_slice import Extent, TensorSlice
from ckptmgr.storage import PosixStorage
from tests.bundle import cases

STORAGE = PosixStorage()

TENSORS = {name: array for name, array in cases.ALL.items() if name != "empty_huge"}
#: NumPy arrays that TensorFlow takes as constants: what a user would get back from ours.
RESTORED = {name: cases.restored(array) for name, array in TENSORS.items()}
V1_TENSORS = {
    name: array
    for name, array in RESTORED.items()
    if dtypes.from_numpy(array.dtype) in dtypes.V1_WRITABLE
}

FULL = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
PARTS = [np.s_[0:2, :, :], np.s_[2:5, 0:1, :], np.s_[2:5, 1:4, :]]


def constant(tf: Any, array: cases.Array) -> Any:
    if array.dtype == object:
        return tf.reshape(tf.constant(array.reshape(-1).tolist(), tf.string), array.shape)
    return tf.constant(array)


def save_v2(tf: Any, prefix: Path, tensors: Mapping[str, Any]) -> None:
    """As `tf.train.Saver` does: in the order of the names."""
    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tensors[name] for name in names],
    )


def restore(
    tf: Any, prefix: str | Path, expected: Mapping[str, cases.Array], spec: str = ""
) -> dict[str, Any]:
    """With the op: the Python reader cannot take slices, nor every dtype of V1."""
    tensors = tf.raw_ops.RestoreV2(
        prefix=str(prefix),
        tensor_names=list(expected),
        shape_and_slices=[spec] * len(expected),
        dtypes=[tf.as_dtype("string" if a.dtype == object else a.dtype) for a in expected.values()],
    )
    return {name: tensor.numpy() for name, tensor in zip(expected, tensors, strict=True)}


def assert_tensorflow_restores(
    tf: Any, prefix: str | Path, expected: Mapping[str, cases.Array]
) -> None:
    for name, found in restore(tf, prefix, expected).items():
        cases.assert_identical(found, expected[name])


def assert_readers_agree(tf: Any, prefix: str | Path) -> int:
    """Ours and TensorFlow's say the same of every tensor; returns how many there are."""
    theirs = tf.train.load_checkpoint(str(prefix))
    with CheckpointReader(str(prefix)) as ours:
        shapes = theirs.get_variable_to_shape_map()
        assert ours.get_variable_to_shape_map() == shapes
        assert list(ours.get_variable_to_shape_map()) == sorted(shapes)
        names = {name: dtype.name for name, dtype in theirs.get_variable_to_dtype_map().items()}
        assert {name: ours.dtype_name(name) for name in shapes} == names
        lines = theirs.debug_string().splitlines()
        assert sorted(ours.debug_string().splitlines()) == sorted(lines)
        if naming.v1_shard_files(str(prefix)) is None and Path(f"{prefix}.index").exists():
            assert ours.debug_string() == theirs.debug_string()
        for name in shapes:
            assert ours.has_tensor(name)
            if names[name] == "variant":
                continue
            found, expected = ours.get_tensor(name), theirs.get_tensor(name)
            assert type(found) is type(expected)
            cases.assert_identical(found, np.asarray(expected, getattr(expected, "dtype", object)))
    return len(shapes)


# --------------------------------------------------------------------------- what we write


@pytest.mark.parametrize("alignment_bytes", [1, 64, 4096])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_kind_of_tensor(tf: Any, tmp_path: Path, alignment_bytes: int, shards: int) -> None:
    prefix = tmp_path / "model.ckpt-1"
    names = sorted(TENSORS)
    split = [cases.named({n: TENSORS[n] for n in names[i::shards]}) for i in range(shards)]
    cases.save(STORAGE, str(prefix), *split, alignment_bytes=alignment_bytes, durable=True)
    assert_tensorflow_restores(tf, prefix, RESTORED)
    assert assert_readers_agree(tf, prefix) == len(TENSORS)


def test_byte_for_byte(tf: Any, tmp_path: Path) -> None:
    save_v2(tf, tmp_path / "theirs", {n: constant(tf, a) for n, a in RESTORED.items()})
    cases.save(STORAGE, str(tmp_path / "ours"), cases.named(TENSORS), alignment_bytes=1)
    assert_same_files(tmp_path, "theirs", "ours")


def test_large_index_byte_for_byte(tf: Any, tmp_path: Path) -> None:
    arrays = {f"{i * 2654435761 % 2**32:08x}/{'x' * 50}": np.int32(i) for i in range(9000)}
    save_v2(tf, tmp_path / "theirs", arrays)
    cases.save(
        STORAGE,
        str(tmp_path / "ours"),
        cases.named({n: np.asarray(a) for n, a in arrays.items()}),
        alignment_bytes=1,
    )
    assert (tmp_path / "ours.index").stat().st_size > 2 * 262144
    assert_same_files(tmp_path, "theirs", "ours")


def assert_same_files(directory: Path, theirs: str, ours: str) -> None:
    for suffix in ("index", "data-00000-of-00001"):
        expected = (directory / f"{theirs}.{suffix}").read_bytes()
        assert (directory / f"{ours}.{suffix}").read_bytes() == expected


SLICED = ["float32", "bfloat16", "complex64", "bool", "int4", "uint8", "int64"]


@pytest.mark.parametrize("shards", [1, 3])
def test_slices(tf: Any, tmp_path: Path, shards: int) -> None:
    prefix = tmp_path / "model"
    full = {dtype: cases.numbers(dtype, FULL.shape) for dtype in SLICED}
    tensors = [tensor for name in SLICED for tensor in cases.parts(name, full[name], *PARTS)]
    split = [tensors[i::shards] for i in range(shards)]
    cases.save(STORAGE, str(prefix), *split)
    assert_tensorflow_restores(tf, prefix, full)
    assert_readers_agree(tf, prefix)
    spec = "5 4 3 1,3:-:2,1"
    part = TensorSlice((Extent(1, 3), Extent(), Extent(2, 1)))
    with CheckpointReader(prefix) as reader:
        for name, found in restore(tf, prefix, full, spec).items():
            cases.assert_identical(found, full[name][1:4, :, 2:3].copy())
            cases.assert_identical(reader.get_slice(name, part), found)


def test_slices_byte_for_byte(tf: Any, tmp_path: Path) -> None:
    rows = [np.s_[0:4, :], np.s_[4:7, :], np.s_[7:10, :]]
    full = np.arange(40, dtype=np.float32).reshape(10, 4)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"),
        tensor_names=["one", "p", "p", "p", "q"],
        shape_and_slices=["10 4 0,10:0,4", "10 4 0,4:0,4", "10 4 4,3:0,4", "10 4 7,3:0,4", ""],
        tensors=[full, *(full[row] for row in rows), full[0]],
    )
    tensors = [
        *cases.named({"q": full[0]}),
        *cases.parts("p", full, *rows[::-1]),
        *cases.parts("one", full, np.s_[0:10, 0:4]),
    ]
    cases.save(STORAGE, str(tmp_path / "ours"), tensors, alignment_bytes=1)
    assert_same_files(tmp_path, "theirs", "ours")


def test_saved_over_and_over(tf: Any, tmp_path: Path) -> None:
    prefix = tmp_path / "model"
    for value, count in enumerate((1, 1, 3, 2, 1)):
        expected = {"w": np.full(9, value), "s": cases.strings(b"%d" % value)}
        shards: list[list[NamedTensor]] = [[] for _ in range(count)]
        shards[-1] = cases.named(expected)
        cases.save(STORAGE, str(prefix), *shards)
        assert_tensorflow_restores(tf, prefix, expected)
        assert_readers_agree(tf, prefix)


def test_names(tf: Any, tmp_path: Path) -> None:
    names = ["a", "a/b", "a.b", "é", "日本/語", "x" * 5000, "w:0", " ", "_CHECKPOINTABLE"]
    tensors = {name: np.full(2, i) for i, name in enumerate(names)}
    cases.save(STORAGE, str(tmp_path / "m"), cases.named(tensors))
    assert_tensorflow_restores(tf, tmp_path / "m", tensors)
    assert assert_readers_agree(tf, tmp_path / "m") == len(names)


def test_no_tensors(tf: Any, tmp_path: Path) -> None:
    cases.save(STORAGE, str(tmp_path / "m"), [])
    assert assert_readers_agree(tf, tmp_path / "m") == 0


def test_damage_is_noticed_by_both(tf: Any, tmp_path: Path) -> None:
    prefix = tmp_path / "m"
    cases.save(STORAGE, str(prefix), cases.named({"w": FULL}))
    data = tmp_path / "m.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[7] ^= 1
    data.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        restore(tf, prefix, {"w": FULL})


# --------------------------------------------------------------------------- V1


def save_v1(prefix: Path, *shards: list[NamedTensor]) -> str:
    staged = stage_v1(STORAGE, str(prefix), shards, cases.options())
    staged.publish()
    return staged.path


#: Of these the Python reader of TensorFlow says "Data type not supported".
V1_READABLE = [
    name
    for name, array in V1_TENSORS.items()
    if array.dtype.name not in {"float16", "uint16"} and array.dtype.kind != "c"
]


@pytest.mark.parametrize("shards", [1, 3])
def test_v1(tf: Any, tmp_path: Path, shards: int) -> None:
    names = sorted(V1_TENSORS)
    split = [cases.named({n: V1_TENSORS[n] for n in names[i::shards]}) for i in range(shards)]
    path = save_v1(tmp_path / "model", *split)
    assert_tensorflow_restores(tf, path, V1_TENSORS)
    readable = {name: V1_TENSORS[name] for name in V1_READABLE}
    empty: list[list[NamedTensor]] = [[] for _ in range(1, shards)]
    path = save_v1(tmp_path / "readable", cases.named(readable), *empty)
    assert assert_readers_agree(tf, path) == len(readable)


@pytest.mark.parametrize("shards", [1, 3])
def test_v1_slices(tf: Any, tmp_path: Path, shards: int) -> None:
    tensors = cases.parts("w", FULL, *PARTS)
    path = save_v1(tmp_path / "model", *(tensors[i::shards] for i in range(shards)))
    assert_tensorflow_restores(tf, path, {"w": FULL})
    found = restore(tf, path, {"w": FULL}, "5 4 3 1,3:-:2,1")["w"]
    cases.assert_identical(found, FULL[1:4, :, 2:3].copy())


def test_v1_byte_for_byte(tf: Any, tmp_path: Path) -> None:
    names = sorted(V1_TENSORS)
    tf.raw_ops.SaveSlices(
        filename=str(tmp_path / "theirs"),
        tensor_names=[*names, "~one", "~p", "~p"],
        shapes_and_slices=[
            *([""] * len(names)),
            *("5 4 3 0,5:0,4:0,3", "5 4 3 0,2:0,4:0,3", "5 4 3 2,3:0,4:0,3"),
        ],
        data=[*(constant(tf, V1_TENSORS[n]) for n in names), FULL, FULL[0:2], FULL[2:5]],
    )
    tensors = [
        *cases.named(V1_TENSORS),
        *cases.parts("~p", FULL, np.s_[2:5, :, :], np.s_[0:2, :, :]),
        *cases.parts("~one", FULL, np.s_[0:5, :, :]),
    ]
    save_v1(tmp_path / "ours", tensors)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


# --------------------------------------------------------------------------- what TensorFlow writes


def test_quantised(tf: Any, tmp_path: Path) -> None:
    stored = {
        name: tf.bitcast(cases.numbers(held), getattr(tf, name))
        for name, held in (
            *(("qint8", "int8"), ("quint8", "uint8"), ("qint16", "int16")),
            *(("quint16", "uint16"), ("qint32", "int32")),
        )
    }
    save_v2(tf, tmp_path / "m", stored)
    assert assert_readers_agree(tf, tmp_path / "m") == 5
    with CheckpointReader(tmp_path / "m") as reader:
        assert reader.dtype_name("qint8") == "qint8"
        cases.assert_identical(reader.get_tensor("qint8"), cases.numbers("int8"))


def test_every_golden_file_that_the_python_reader_takes(tf: Any, golden: Path) -> None:
    prefixes = [str(path)[: -len(".index")] for path in golden.rglob("*.index")]
    assert len(prefixes) > 20
    for prefix in prefixes:
        assert assert_readers_agree(tf, prefix) > 0


def test_object_based(tf: Any, tmp_path: Path) -> None:
    variables = {"w": tf.Variable(FULL), "b": tf.Variable(tf.constant([1, 2], tf.bfloat16))}
    prefix = tf.train.Checkpoint(**variables).save(str(tmp_path / "ckpt"))
    assert assert_readers_agree(tf, prefix) == 4
    with CheckpointReader(prefix) as reader:
        cases.assert_identical(reader.get_tensor("w/.ATTRIBUTES/VARIABLE_VALUE"), FULL)
        b = np.array([1, 2], ml_dtypes.bfloat16)
        cases.assert_identical(reader.get_tensor("b/.ATTRIBUTES/VARIABLE_VALUE"), b)


@pytest.fixture(scope="module")
def saved(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What four Savers wrote of one graph, on three devices, and the values."""
    directory = tmp_path_factory.mktemp("saved")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = {}
        for i in range(3):
            with tf.device(f"/cpu:{i}"):
                values[f"on{i}/w"] = v1.get_variable(f"on{i}/w", initializer=FULL + i)
                values[f"on{i}/s"] = v1.get_variable(f"on{i}/s", initializer=[b"", b"x" * (i * 99)])
        with tf.device("/cpu:1"):
            partitioned = v1.get_variable(
                "p",
                shape=(10, 4),
                initializer=v1.random_normal_initializer(seed=1),
                partitioner=v1.fixed_size_partitioner(3),
            )
        values["p"] = partitioned
        savers: dict[str, Callable[[], Any]] = {
            "plain": v1.train.Saver,
            "sharded": lambda: v1.train.Saver(sharded=True),
            "v1": lambda: v1.train.Saver(write_version=v1.train.SaverDef.V1),
            "v1_sharded": lambda: v1.train.Saver(write_version=v1.train.SaverDef.V1, sharded=True),
        }
        made = {name: make() for name, make in savers.items()}
        with v1.Session(config=v1.ConfigProto(device_count={"CPU": 3})) as session:
            session.run(v1.global_variables_initializer())
            for name, saver in made.items():
                saver.save(session, str(directory / name), write_meta_graph=False)
            evaluated = session.run(
                {n: v.as_tensor() if n == "p" else v for n, v in values.items()}
            )
    return directory, evaluated


@pytest.mark.parametrize("base", ["plain", "sharded", "v1", "v1_sharded-?????-of-00003"])
def test_savers(tf: Any, saved: tuple[Path, dict[str, Any]], base: str) -> None:
    directory, values = saved
    with CheckpointReader(directory / base) as reader:
        reader.verify()
        assert reader.get_variable_to_shape_map() == {
            n: list(a.shape) for n, a in sorted(values.items())
        }
        for name, value in values.items():
            cases.assert_identical(reader.get_tensor(name), value)
        part = TensorSlice((Extent(3, 5), Extent(1, 2)))
        cases.assert_identical(reader.get_slice("p", part), values["p"][3:8, 1:3].copy())
    if not base.startswith("v1"):
        assert_readers_agree(tf, directory / base)


@pytest.mark.parametrize("base", ["plain", "v1"])
def test_plain_savers_byte_for_byte(
    saved: tuple[Path, dict[str, Any]], tmp_path: Path, base: str
) -> None:
    directory, values = saved
    tensors = cases.named({name: array for name, array in values.items() if name != "p"})
    tensors += cases.parts("p", values["p"], np.s_[0:4, :], np.s_[4:7, :], np.s_[7:10, :])
    if base == "v1":
        save_v1(tmp_path / "v1", tensors)
        assert (tmp_path / "v1").read_bytes() == (directory / "v1").read_bytes()
    else:
        cases.save(STORAGE, str(tmp_path / "plain"), tensors, alignment_bytes=1)
        for suffix in ("index", "data-00000-of-00001"):
            expected = (directory / f"plain.{suffix}").read_bytes()
            assert (tmp_path / f"plain.{suffix}").read_bytes() == expected

"""The targets of `make fuzz` for some seconds: the corpus, then changes of it from fixed seeds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.graph_pb2 import GraphDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr._proto.tensor_shape_pb2 import TensorShapeProto
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.formats import saved_tensor_slices
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.meta_graph import import_collected
from ckptmgr.graph.meta_graph_files import decode_meta_graph
from ckptmgr.graph.policy import Policy
from ckptmgr.saved_model import loader
from ckptmgr.storage import MemoryStorage
from tests.fuzz import targets
from tests.fuzz.costs import functions_of, is_cheap
from tests.fuzz.graphs import BINARY
from tests.fuzz.guard import MEMORY_BASE_BYTES, Finding, Guard, documented
from tests.fuzz.packing import pack, unpack
from tests.fuzz.watching import confined_to

CORPUS = Path(__file__).parent / "corpus"
# Together about 30 seconds; memory is measured of some.
COUNTS = {
    "bundle": 400,
    "v1": 500,
    "state": 120,
    "manager": 80,
    "meta_graph": 150,
    "saved_model": 120,
}
_MEMORY_EVERY = 5


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "ckptmgr")


def corpus_of(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def changed_inputs(target: str, count: int) -> Iterator[bytes]:
    corpus = corpus_of(target)
    for seed in range(count):
        random = Random(seed)
        data = random.choice(corpus)
        for _ in range(random.choice((1, 1, 2, 4))):
            data = targets.TARGETS[target].mutate(data, random)
        yield data


@pytest.mark.parametrize("target", COUNTS)
def test_the_corpus(target: str) -> None:
    guard = Guard(targets.TARGETS[target].check)
    for data in corpus_of(target):
        guard(data)


@pytest.mark.parametrize("target", COUNTS)
def test_changed_inputs(target: str) -> None:
    guard = Guard(targets.TARGETS[target].check, every=_MEMORY_EVERY)
    for data in changed_inputs(target, COUNTS[target]):
        guard(data)


# --------------------------------------------------------------------------- of the fuzzing itself


@pytest.mark.parametrize("target", ["bundle", "meta_graph", "saved_model"])
def test_changed_inputs_are_the_same_each_time(target: str) -> None:
    assert list(changed_inputs(target, 30)) == list(changed_inputs(target, 30))


def test_most_changed_bundles_get_past_the_checksums() -> None:
    inputs = list(changed_inputs("bundle", 200))
    opened = 0
    for data in inputs:
        storage = MemoryStorage()
        for path, content in zip(targets.BUNDLE_FILES, range(6), strict=True):
            file = storage.create(path)
            file.write([unpack(data).get(content, b"")], 0)
        with contextlib.suppress(errors.CorruptCheckpoint):
            CheckpointReader("m", storage=storage).close()
            opened += 1
    assert opened > len(inputs) // 2


def test_most_changed_graphs_are_decoded_and_many_are_imported() -> None:
    inputs = list(changed_inputs("meta_graph", 150))
    decoded = imported = 0
    for data in inputs:
        with contextlib.suppress(errors.CheckpointError):
            meta_graph = decode_meta_graph(data)
            decoded += 1
            import_collected(meta_graph, graph=Graph())
            imported += 1
    assert decoded > len(inputs) * 3 // 4
    assert imported > len(inputs) // 4


def unchecked_asset(directory: str, filename: str) -> str:
    return f"{directory}/assets/{filename}"


def test_a_model_that_reads_a_file_outside_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    files = unpack((CORPUS / "saved_model/golden_table").read_bytes())
    model = SavedModel.FromString(files[BINARY])
    model.meta_graphs[0].asset_file_def[0].filename = "../../outside.txt"
    data = pack({**files, BINARY: model.SerializeToString()})
    targets.TARGETS["saved_model"].check(data)
    monkeypatch.setattr(loader, "asset_path", unchecked_asset)
    targets.TARGETS["saved_model"].check(data)  # the policy refuses it, too
    monkeypatch.setattr(Policy, "_is_readable", lambda _self, path: path.endswith(".txt"))
    with pytest.raises(Finding, match="'.*outside.txt' outside of '.*model' was touched"):
        targets.TARGETS["saved_model"].check(data)


@pytest.mark.parametrize(
    "touch",
    [
        os.listdir,
        lambda path: os.remove(path / "gone"),
        lambda path: (path / "new").touch(),
    ],
)
def test_what_touches_another_directory_is_found(touch: Any, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    with confined_to(str(tmp_path)), contextlib.suppress(FileNotFoundError):
        touch(tmp_path)
    with (
        pytest.raises(Finding, match="was touched"),
        confined_to(str(tmp_path / "inner")),
        contextlib.suppress(FileNotFoundError),
    ):
        touch(tmp_path)


def calls_twice(depth: int) -> GraphDef:
    """Functions of which each calls the next one twice."""
    graph_def = GraphDef()
    for number in range(depth):
        function = graph_def.library.function.add()
        function.signature.name = f"f{number}"
        for call in range(2):
            node = function.node_def.add(name=f"c{call}", op="PartitionedCall")
            node.attr["f"].func.name = f"f{number + 1}"
    graph_def.node.add(name="c", op="PartitionedCall").attr["f"].func.name = "f0"
    return graph_def


def test_what_is_cheap() -> None:
    for depth, cheap in ((3, True), (30, False)):
        graph_def = calls_twice(depth)
        assert is_cheap(graph_def.node, functions_of(graph_def)) is cheap
    endless = calls_twice(3)
    endless.library.function[2].node_def[0].attr["f"].func.name = "f0"
    assert is_cheap(endless.node, functions_of(endless))  # it is refused after some calls
    endless.node.add(name="w", op="While")
    assert not is_cheap(endless.node, functions_of(endless))


def unchecked_shape(message: TensorShapeProto) -> tuple[int, ...]:
    return tuple(dim.size for dim in message.dim)


def test_a_bound_that_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_tensor_slices, "decode_shape", unchecked_shape)
    found = []
    for data in changed_inputs("v1", 1000):
        try:
            targets.check_v1(data)
        except Exception as error:  # noqa: BLE001 - whatever a negative size leads to
            found.append(error)
            break
    assert found


def too_much_memory(data: bytes) -> None:
    assert np.ones(MEMORY_BASE_BYTES + 2**20, np.uint8).all()


def undocumented(data: bytes) -> None:
    documented(lambda: data[len(data)])


def nameless(data: bytes) -> None:
    def refuse() -> None:
        raise errors.MalformedTable("no file")

    documented(refuse)


@pytest.mark.parametrize(
    ("check", "kind", "message"),
    [
        (too_much_memory, Finding, "an input of 3 bytes took"),
        (undocumented, IndexError, "out of range"),
        (nameless, Finding, "names no file"),
    ],
)
def test_the_guard_finds(check: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Guard(check)(b"abc")  # type: ignore[arg-type]


def test_the_guard_finds_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.guard.LIMIT_SECS", 0.001)
    with pytest.raises(Finding, match="took .* s"):
        Guard(lambda data: sum(range(300_000)))(b"abc")  # type: ignore[arg-type]


@pytest.mark.parametrize("files", [{}, {0: b""}, {0: b"abc", 5: b"", 255: b"\0" * 300}])
def test_packing(files: dict[int, bytes]) -> None:
    assert unpack(pack(files)) == files


def test_any_bytes_are_some_files() -> None:
    assert unpack(b"\x03\xff\xff\xff\xffab") == {3: b"ab"}
    assert unpack(b"\x03") == {3: b""}

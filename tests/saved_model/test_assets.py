from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmgr import errors
from ckptmgr._proto.meta_graph_pb2 import AssetFileDef
from ckptmgr.graph.construction import constant, create_op
from ckptmgr.graph.graph import Graph
from ckptmgr.saved_model.assets import asset_path_of, copy_assets, name_assets, packed
from ckptmgr.storage import (
    Fault,
    FaultInjectingStorage,
    MemoryStorage,
    PosixStorage,
    ProcessKilled,
    Storage,
)


def put(storage: Storage, path: str, content: bytes) -> str:
    storage.make_dirs(path.rpartition("/")[0])
    file = storage.create(path)
    file.write([content], 0)
    file.close()
    return path


def content(storage: Storage, path: str) -> bytes:
    return storage.open(path).read(0, 2**30)


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Two files that hold the same, and two that hold something else, all of one name."""
    files = {"a": b"same", "b": b"same", "c": b"else", "d": b"more"}
    return [
        put(PosixStorage(), str(tmp_path / folder / "words.txt"), data)
        for folder, data in files.items()
    ]


def test_names_are_those_of_tensorflow(tf: Any, sources: list[str]) -> None:
    from tensorflow.python.saved_model import builder_impl

    paths = [*sources, sources[2], sources[0]]
    expected: dict[bytes, bytes] = {}
    names = []
    for path in paths:
        name: bytes = builder_impl.get_asset_filename_to_add(path.encode(), expected)
        expected[name] = path.encode()
        names.append(name.decode())

    graph = Graph()
    listed, copied = name_assets(PosixStorage(), [constant(graph, path) for path in paths])

    assert [asset.filename for asset in listed] == names
    assert names[:4] == ["words.txt", "words.txt", "words.txt_1", "words.txt_2"]
    assert {name.encode(): path.encode() for name, path in copied.items()} == expected
    assert [asset.tensor_info.name for asset in listed[:2]] == ["Const:0", "Const_1:0"]


def test_an_asset_in_a_collection() -> None:
    wrapped = packed(AssetFileDef(filename="words.txt"))

    assert wrapped.type_url == "type.googleapis.com/tensorflow.AssetFileDef"
    assert AssetFileDef.FromString(wrapped.value).filename == "words.txt"


def test_what_holds_no_path() -> None:
    graph = Graph()
    placeholder = create_op(graph, "Placeholder", (), {"dtype": "string"}).outputs[0]
    cases: list[tuple[Any, str]] = [
        ("a path", "must be a Tensor"),
        (placeholder, "must be of type constant. Has type Placeholder instead."),
        (constant(graph, 1), "must be of dtype string"),
        (constant(graph, ["a", "b"]), "must be a scalar"),
    ]
    for tensor, problem in cases:
        with pytest.raises(errors.GraphTypeError, match=problem) as caught:
            asset_path_of(tensor)
        assert isinstance(caught.value, TypeError)
    for path in ("", "folder/"):
        with pytest.raises(errors.GraphError, match="is invalid"):
            asset_path_of(constant(graph, path))
    assert asset_path_of(constant(graph, np.array(["a"], object))) == "a"


def test_a_file_that_is_not_there(sources: list[str]) -> None:
    missing = sources[0] + "x"
    with pytest.raises(errors.FileMissing, match=r"words.txtx"):
        copy_assets(PosixStorage(), {"x": missing}, f"{missing}.d")


def test_copies(tmp_path: Path, sources: list[str]) -> None:
    big = put(PosixStorage(), str(tmp_path / "big"), bytes(range(256)) * 2**15)
    wanted = {"words.txt": sources[0], "big": big, "empty": put(PosixStorage(), f"{big}0", b"")}
    target = tmp_path / "export" / "assets"

    copy_assets(PosixStorage(), wanted, str(target))
    copy_assets(PosixStorage(), {"words.txt": str(target / "words.txt")}, str(target))

    assert sorted(path.name for path in target.iterdir()) == ["big", "empty", "words.txt"]
    for name, source in wanted.items():
        assert (target / name).read_bytes() == Path(source).read_bytes()


def test_no_half_of_a_file_has_the_name() -> None:
    for number in itertools.count(1):
        inner = MemoryStorage()
        put(inner, "source/words.txt", b"all of it")
        storage = FaultInjectingStorage(inner, [Fault(at=number, kill=True)])
        try:
            copy_assets(storage, {"words.txt": "source/words.txt"}, "model/assets")
        except ProcessKilled:
            if inner.stat("model/assets/words.txt") is not None:
                assert content(inner, "model/assets/words.txt") == b"all of it"
        else:
            break
    assert number > 5
    assert inner.list_dir("model/assets") == ["words.txt"]

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors, saved_model
from ckptmgr._proto.meta_graph_pb2 import AssetFileDef
from ckptmgr._proto.saved_model_pb2 import SavedModel
from ckptmgr.saved_model import constants
from ckptmgr.saved_model.directory import (
    asset_files,
    asset_path,
    contains_saved_model,
    decode_binary,
    decode_text,
    find_meta_graph,
    meta_graph_with_tags,
    read_saved_model,
    variables_prefix,
)
from ckptmgr.storage import MemoryStorage
from tests.saved_model.models import meta_graph

MODELS = (
    "saved_model_tf1/export",
    "saved_model_tf1/simple",
    "saved_model_tf2/module",
    "saved_model_tf2/keras_export",
    "keras_legacy/saved_model",
)


@pytest.mark.parametrize("folder", MODELS)
def test_reads_what_tensorflow_wrote(golden: Path, folder: str) -> None:
    model = read_saved_model(golden / folder)

    written = (golden / folder / "saved_model.pb").read_bytes()
    assert model.SerializeToString(deterministic=True) == written
    assert contains_saved_model(golden / folder)
    assert Path(variables_prefix(str(golden / folder)) + ".index").exists()


def test_text_is_the_same_model(golden: Path, tmp_path: Path) -> None:
    folder = golden / "saved_model_tf1" / "export"
    text = (folder / "saved_model.pbtxt").read_bytes()
    (tmp_path / "saved_model.pbtxt").write_bytes(text)

    assert contains_saved_model(tmp_path)
    assert read_saved_model(tmp_path) == read_saved_model(folder)

    (tmp_path / "saved_model.pb").write_bytes(SavedModel().SerializeToString())
    assert read_saved_model(tmp_path) == SavedModel()  # the binary file wins


PACKED = re.compile(r'type_url: "([^"]*)"\s+value: "((?:[^"\\]|\\.)*)"')


def written_out(value: str) -> str:
    """The text of an AssetFileDef, whose bytes are given as a string of the text format."""
    packed = text_format.Parse(f'value: "{value}"', Any())
    return text_format.MessageToString(AssetFileDef.FromString(packed.value), as_one_line=True)


def test_text_with_assets_written_out(golden: Path) -> None:
    """As TensorFlow 1 did, whose `str` of a message shows what an `Any` holds."""
    folder = golden / "saved_model_tf1" / "export"
    model = read_saved_model(folder)
    text = (folder / "saved_model.pbtxt").read_text()
    changed, count = PACKED.subn(lambda match: f"[{match[1]}] {{ {written_out(match[2])} }}", text)

    assert count == 2
    assert "type_url" not in changed
    assert decode_text(changed.encode()) == model


# --------------------------------------------------------------------------- what is no model


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(errors.SavedModelNotFound) as caught:
        read_saved_model(tmp_path)

    assert str(caught.value) == (
        f"SavedModel file does not exist at: {tmp_path}/{{saved_model.pbtxt|saved_model.pb}}"
    )
    assert isinstance(caught.value, OSError)
    assert not contains_saved_model(tmp_path)


def test_a_model_in_chunks(tmp_path: Path) -> None:
    (tmp_path / "saved_model.cpb").touch()
    with pytest.raises(errors.SavedModelNotFound, match=r"saved_model.cpb, a model in chunks"):
        read_saved_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("saved_model.pb", b"\xff\xff", "cannot parse as a binary SavedModel"),
        ("saved_model.pbtxt", b"nonsense: 1", "cannot parse as a text SavedModel: 1:1"),
        ("saved_model.pbtxt", b"\xff", "cannot parse as a text SavedModel: 'utf-8' codec"),
        (
            "saved_model.pbtxt",
            b"meta_graphs {graph_def {node {attr {key: 'T' value {type: 2147483648}}}}}",
            "cannot parse as a text SavedModel",
        ),
        (
            "saved_model.pbtxt",
            b"meta_graphs {meta_info_def {any_info {[type.googleapis.com/tensorflow.No] {}}}}",
            "cannot parse as a text SavedModel",
        ),
    ],
)
def test_what_does_not_parse(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(errors.MalformedGraph, match=problem) as caught:
        read_saved_model(tmp_path)

    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize("depth", [150, 200_000])
def test_text_that_nests_too_deep(depth: int) -> None:
    opened = "meta_graphs { object_graph_def { concrete_functions { value { output_signature { "
    nested = "list_value { values { " * depth
    text = f"{opened}{nested}{'} } ' * depth}{'} ' * 5}"
    with pytest.raises(errors.MalformedGraph, match="cannot parse as a text SavedModel"):
        decode_text(text.encode())


def test_a_file_larger_than_any_message() -> None:
    storage = MemoryStorage()
    storage.make_dirs("model")
    file = storage.create("model/saved_model.pb")
    file.write([b"x"], 0)
    file.close()
    opened = storage.open

    class Huge:
        size_bytes = 2**31

        def __init__(self, path: str) -> None:
            self._file = opened(path)

        def close(self) -> None:
            self._file.close()

    storage.open = Huge  # type: ignore[method-assign,assignment]
    with pytest.raises(errors.MalformedGraph, match="2147483647 bytes at most, found 2147483648"):
        read_saved_model("model", storage=storage)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for decode in (decode_binary, decode_text):
        try:
            decode(data)
        except errors.MalformedGraph:
            continue


@given(st.data())
def test_a_damaged_model(golden: Path, data: st.DataObject) -> None:
    folder = golden / "saved_model_tf1" / "simple"
    content = bytearray((folder / "saved_model.pb").read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    try:
        decode_binary(bytes(content))
    except errors.MalformedGraph as error:
        assert "cannot parse" in str(error)  # noqa: PT017 - most flips leave a message


# --------------------------------------------------------------------------- tags


def test_meta_graphs_by_tags() -> None:
    model = SavedModel(meta_graphs=[meta_graph("serve"), meta_graph("train", "gpu"), meta_graph()])

    assert find_meta_graph(model, ["gpu", "train", "gpu"]) == model.meta_graphs[1]
    assert find_meta_graph(model, []) == model.meta_graphs[2]
    assert meta_graph_with_tags(model, ["gpu"]) is None
    with pytest.raises(errors.TagsNotFound) as caught:
        find_meta_graph(model, ["eval", "x"])
    assert str(caught.value) == (
        "MetaGraphDef associated with tags 'eval', 'x' could not be found in SavedModel, with "
        "available tags '[{'serve'}, {'gpu', 'train'}, {}]'. To inspect available tag-sets in the "
        "SavedModel, please use the SavedModel CLI: `ckptmgr saved-model show`."
    )
    assert isinstance(caught.value, RuntimeError)


# --------------------------------------------------------------------------- assets


@pytest.mark.parametrize(
    ("folder", "tensors"),
    [
        ("saved_model_tf1/export", ["vocab_path:0", "vocab_path:0"]),
        ("saved_model_tf2/module", ["asset_path_initializer:0"]),
    ],
)
def test_assets(golden: Path, folder: str, tensors: list[str]) -> None:
    assets = asset_files(read_saved_model(golden / folder).meta_graphs[0])

    assert [asset.tensor_info.name for asset in assets] == tensors
    for asset in assets:
        path = asset_path(str(golden / folder), asset.filename)
        assert path == str(golden / folder / "assets" / "vocab_src.txt")
        assert Path(path).exists()


def test_no_assets() -> None:
    assert asset_files(meta_graph("serve")) == []


def test_a_collection_that_holds_no_assets() -> None:
    graph = meta_graph("serve")
    graph.collection_def[constants.ASSETS_KEY].any_list.value.add(value=b"\xff")
    with pytest.raises(errors.MalformedGraph, match="collection saved_model_assets holds no"):
        asset_files(graph)


def test_an_asset_in_a_folder_of_assets() -> None:
    assert asset_path("model", "tokens/a..b.txt") == "model/assets/tokens/a..b.txt"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/../../x", "a/..", "/etc/passwd", "a//b", "a/", "a\0b"]
)
def test_an_asset_outside_of_the_folder(name: str) -> None:
    with pytest.raises(errors.MalformedGraph, match="leads out of the model's folder"):
        asset_path("model", name)


# --------------------------------------------------------------------------- the package


def test_every_name_of_the_package_is_there() -> None:
    assert set(saved_model._HOME_OF) == set(saved_model.__all__) <= set(dir(saved_model))
    assert all(getattr(saved_model, name) is not None for name in saved_model.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        saved_model.nonsense  # noqa: B018


def test_the_words_are_those_of_tensorflow(tf: object) -> None:
    from tensorflow.python.saved_model import constants as theirs
    from tensorflow.python.saved_model import signature_constants, tag_constants

    known = {
        name: getattr(module, name)
        for module in (theirs, signature_constants, tag_constants)
        for name in vars(module)
        if name.isupper()
    }
    ours = {name: value for name, value in vars(constants).items() if name.isupper()}
    shared = ours.keys() & known.keys()
    assert {name: ours[name] for name in shared} == {name: known[name] for name in shared}
    assert ours.keys() - known.keys() <= {
        "FINGERPRINT_FILENAME",
        "INIT_OP_SIGNATURE_KEY",
        "KERAS_METADATA_FILENAME_PB",
        "SAVED_MODEL_FILENAME_CPB",
        "TRAIN_OP_SIGNATURE_KEY",
    }

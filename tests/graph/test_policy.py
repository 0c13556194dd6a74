from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from ckptmgr import errors
from ckptmgr.graph import create_op
from ckptmgr.graph.construction import constant
from ckptmgr.graph.graph import Graph
from ckptmgr.graph.graph_def import import_graph_def
from ckptmgr.graph.policy import Policy
from ckptmgr.graph.session import Session

TOKEN = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/run/model", True),
        (f"/run/model_temp_{TOKEN}/part-00000-of-00002", True),
        (f"/run/model_temp_{TOKEN}/part", True),
        ("/run/model-00000-of-00002", True),
        ("/run/model-?????-of-00002", True),
        ("/run/model2", False),
        ("/run/model/../../etc/passwd", False),
        (f"/run/model_temp_{TOKEN}/../part", False),
        ("/run/mode", False),
        ("/etc/passwd", False),
    ],
)
def test_savers_touch_what_was_fed_and_what_they_make_of_it(path: str, is_allowed: bool) -> None:
    fed = {"/run/model", ""}
    policy = Policy()
    if is_allowed:
        policy.check_path("SaveV2", "save", path, fed=fed, writes=True)
    else:
        with pytest.raises(errors.OpRefused, match="allow_ops=\\('SaveV2',\\)"):
            policy.check_path("SaveV2", "save", path, fed=fed, writes=True)
    Policy(["SaveV2"]).check_path("SaveV2", "save", path, fed=set(), writes=True)


def test_open_directories_are_read_but_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "vocabulary.txt").write_text("a\n")
    (tmp_path / "secret").write_text("b\n")
    os.symlink(tmp_path / "secret", assets / "link")
    policy = Policy()
    policy.open_for_reading(str(assets))

    def check(path: Path, *, writes: bool = False) -> None:
        policy.check_path("Restore", "restore", str(path), fed=(), writes=writes)

    check(assets / "vocabulary.txt")
    for path in (assets / ".." / "secret", assets / "link", tmp_path / "assets2" / "a"):
        with pytest.raises(errors.OpRefused, match="would read"):
            check(path)
    with pytest.raises(errors.OpRefused, match="would write"):
        check(assets / "vocabulary.txt", writes=True)
    # Another file system's, even if it looks like one within the directory.
    monkeypatch.chdir(assets)
    policy.check_path("Restore", "restore", "vocabulary.txt", fed=(), writes=False)
    with pytest.raises(errors.OpRefused, match="would read 'file:///etc/passwd'"):
        policy.check_path("Restore", "restore", "file:///etc/passwd", fed=(), writes=False)


def test_what_links_lead_to_is_told_and_not_read(tmp_path: Path) -> None:
    for name in ("model", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "vocabulary.txt").write_text("a\n")
    (tmp_path / "model" / "assets").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    for model in ("model", "link"):
        policy = Policy()
        assets = tmp_path / model / "assets"
        policy.open_for_reading(str(assets))
        told = f"'{assets}/vocabulary.txt', which leads to '{tmp_path}/elsewhere/vocabulary.txt', a"
        with pytest.raises(errors.OpRefused, match=re.escape(told)):
            policy.check_path("Op", "n", str(assets / "vocabulary.txt"), fed=(), writes=False)
    with pytest.raises(errors.OpRefused, match=re.escape(r"would read 'a\x00', a path that")):
        policy.check_path("Op", "n", "a\0", fed=(), writes=False)


def test_what_is_not_known_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(errors.OpRefused, match=r"cannot be told .*allow_ops=\('RestoreV2',\)"):
        Policy().check_unknown_path("RestoreV2", "restore")
    Policy(["RestoreV2"]).check_unknown_path("RestoreV2", "restore")


@pytest.mark.parametrize(
    ("stream", "is_allowed"),
    [(b"stdout", True), (b"log(error)", True), (b"file:///tmp/a", False), (b"", False)],
)
def test_printing_goes_to_known_streams(stream: bytes, is_allowed: bool) -> None:
    if is_allowed:
        Policy().check_stream("print", stream)
    else:
        with pytest.raises(errors.OpRefused, match=r"would write to .*allow_ops=\('PrintV2',\)"):
            Policy().check_stream("print", stream)
        Policy(["PrintV2"]).check_stream("print", stream)


def reading_graph(path: str) -> Graph:
    graph = Graph()
    create_op(graph, "ReadFile", [constant(graph, path)], name="read")
    create_op(
        graph, "WriteFile", [constant(graph, path + ".new"), constant(graph, "text")], name="write"
    )
    return graph


def test_files_are_refused_unless_allowed_by_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    graph = reading_graph(str(path))
    with Session(graph=graph) as session:
        with pytest.raises(errors.OpRefused, match="ReadFile operation 'read' touches files"):
            session.run("read:0")
        with pytest.raises(errors.OpRefused, match=r"allow_ops=\('WriteFile',\)"):
            session.run("write")
    with Session(graph=graph, allow_ops=("ReadFile", "WriteFile")) as session:
        assert session.run("read:0") == b"content"
        session.run("write")
    assert (tmp_path / "file.new").read_bytes() == b"text"
    with pytest.raises(errors.InvalidArgument, match="must be a collection"):
        Session(graph=graph, allow_ops="ReadFile")


def saving_graph(path: str) -> Graph:
    graph = Graph()
    prefix = create_op(
        graph, "PlaceholderWithDefault", [constant(graph, path)], {"shape": ()}, "prefix"
    )
    names, slices = constant(graph, ["t"]), constant(graph, [""])
    create_op(
        graph, "SaveV2", [prefix.outputs[0], names, slices, [constant(graph, 1.0)]], {}, "save"
    )
    create_op(
        graph, "RestoreV2", [prefix.outputs[0], names, slices], {"dtypes": ["float32"]}, "restore"
    )
    return graph


def imported(graph: Graph) -> Graph:
    copy = Graph()
    import_graph_def(graph.as_graph_def(), name="", graph=copy)
    return copy


def test_an_imported_graph_saves_where_the_caller_says(tmp_path: Path) -> None:
    path = str(tmp_path / "model")
    own = saving_graph(path)
    with Session(graph=own) as session:
        session.run("save")
        assert session.run("restore:0") == 1.0
    for name in os.listdir(tmp_path):
        (tmp_path / name).unlink()
    foreign = imported(own)
    with Session(graph=foreign) as session:
        for fetch in ("save", "restore"):
            with pytest.raises(errors.OpRefused, match=f"{tmp_path}/model', a path that it"):
                session.run(fetch)
        assert os.listdir(tmp_path) == []
        session.run("save", {"prefix:0": path})
        assert session.run("restore:0", {"prefix:0": path}) == 1.0
    with Session(graph=foreign, allow_ops=["RestoreV2"]) as session:
        assert session.run("restore:0") == 1.0


def test_printing_goes_to_the_terminal_only(tmp_path: Path, capsys: Any) -> None:
    graph = Graph()
    text = constant(graph, "hello")
    path = f"file://{tmp_path}/log"
    create_op(graph, "PrintV2", [text], {"output_stream": "stdout", "end": "!\n"}, "out")
    create_op(graph, "PrintV2", [text], {"output_stream": path}, "file")
    with Session(graph=graph, allow_ops=["PrintV2"]) as session:
        session.run("out")
        with pytest.raises(errors.OpRefused, match="would write to"):
            session.run("file")
    assert capsys.readouterr().out == "hello!\n"
    assert os.listdir(tmp_path) == []

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckptmgr import errors
from ckptmgr.graph.session import Session
from tests.graph.both_engines import Run, check, graph_def_of, imported

ALLOWED: dict[str, Any] = {"allow_ops": ["InitializeTableFromTextFileV2"]}


def test_tables_of_constants(tf: Any) -> None:
    def build(tf1: Any) -> None:
        strings = tf1.lookup.StaticHashTable(
            tf1.lookup.KeyValueTensorInitializer(["a", "b"], tf1.constant([1, 2], "int64")), -1
        )
        numbers = tf1.lookup.StaticHashTable(
            tf1.lookup.KeyValueTensorInitializer(tf1.constant([5, 7], "int64"), ["five", "seven"]),
            "?",
        )
        strings.lookup(tf1.placeholder(tf1.string, None, "words"), name="indices")
        numbers.lookup(tf1.placeholder(tf1.int64, None, "numbers"), name="words_of")
        strings.size(name="size")
        tf1.tables_initializer(name="init")

    feeds = {"words:0": [["b", "x"], ["a", "b"]], "numbers:0": 7}
    names = [f"{name}/LookupTableFindV2:0" for name in ("indices", "words_of")]
    # Initialized twice with the same, a table stays as it is.
    check(tf, build, Run(["init"]), Run(["init"]), Run([*names, "size/LookupTableSizeV2:0"], feeds))
    with (
        Session(graph=imported(graph_def_of(tf, build))) as session,
        pytest.raises(errors.UninitializedVariable, match="Table not initialized"),
    ):
        session.run("size/LookupTableSizeV2:0")


WHOLE, NUMBER = "WHOLE_LINE", "LINE_NUMBER"


@pytest.mark.parametrize(
    ("key", "value", "key_dtype", "value_dtype", "size"),
    [
        (WHOLE, NUMBER, "string", "int64", None),
        (WHOLE, NUMBER, "string", "int64", 2),
        (NUMBER, WHOLE, "int64", "string", None),
        (0, 1, "string", "int64", None),
        (1, 0, "int64", "string", None),
        (0, 2, "string", "float32", None),
    ],
)
def test_tables_of_files(
    tf: Any,
    tmp_path: Path,
    key: Any,
    value: Any,
    key_dtype: str,
    value_dtype: str,
    size: int | None,
) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(b"a\t3\t0.5\r\nb\t-4\t1e3\nc d\t5\t2")

    def build(tf1: Any) -> None:
        def index(which: Any) -> Any:
            kinds = tf1.lookup.TextFileIndex
            return getattr(kinds, which) if isinstance(which, str) else which

        initializer = tf1.lookup.TextFileInitializer(
            str(path), key_dtype, index(key), value_dtype, index(value), vocab_size=size
        )
        default = "?" if value_dtype == "string" else tf1.cast(-1, value_dtype)
        table = tf1.lookup.StaticHashTable(initializer, default)
        tf1.identity(table.lookup(tf1.placeholder(key_dtype, None, "keys")), "values")
        tf1.identity(table.size(), "size")
        tf1.tables_initializer(name="init")

    strings = ["a", "b", "c d", "a\t3\t0.5", "b\t-4\t1e3", "c d\t5\t2", "x"]
    keys = strings if key_dtype == "string" else [0, 1, 2, 3, -4, 5]
    check(tf, build, Run(["init"]), Run(["values:0", "size:0"], {"keys:0": keys}), **ALLOWED)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a\n\nb\n", {}, "empty line found at position 1"),
        ("a\nb\n", {"vocab_size": 3}, "Invalid vocab_size in .*: expected 3 but got 2"),
        ("a\nb\n", {"key_index": 1}, "line 0 .*: expected at least 2 got 1"),
        ("a\nb\na\n", {}, "Key a has 0 and trying to add value 2"),
        ("a\tx\n", {"key_index": 0, "value_index": 1}, "Field x in line 0 is not a valid int64"),
    ],
)
def test_files_that_are_no_vocabulary(
    tf: Any, tmp_path: Path, content: str, options: dict[str, int], message: str
) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text(content)

    def build(tf1: Any) -> None:
        table = tf1.raw_ops.HashTableV2(key_dtype="string", value_dtype="int64", shared_name="t")
        attrs = {"key_index": -2, "value_index": -1, **options}
        tf1.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename=str(path), name="init", **attrs
        )

    with (
        Session(graph=imported(graph_def_of(tf, build)), **ALLOWED) as session,
        pytest.raises(errors.InvalidOperand, match=message),
    ):
        session.run("init")


def test_the_file_of_an_imported_graph_must_be_named_by_the_caller(tf: Any, tmp_path: Path) -> None:
    path = tmp_path / "assets" / "vocabulary.txt"
    path.parent.mkdir()
    path.write_text("a\nb\n")

    def build(tf1: Any) -> None:
        table = tf1.raw_ops.HashTableV2(key_dtype="string", value_dtype="int64", shared_name="t")
        file = tf1.placeholder_with_default(str(path), (), name="file")
        tf1.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename=file, key_index=-2, value_index=-1, name="init"
        )

    graph = imported(graph_def_of(tf, build))
    with Session(graph=graph) as session:
        with pytest.raises(errors.OpRefused, match="would read"):
            session.run("init")
        session.run("init", {"file:0": str(path)})
    with Session(graph=graph) as session:
        session.state.policy.open_for_reading(str(path.parent))
        session.run("init")
        path.unlink()
        with pytest.raises(errors.OperandNotFound, match="vocabulary.txt"):
            session.run("init")


def test_mutable_tables(tf: Any) -> None:
    def build(tf1: Any) -> None:
        table = tf1.lookup.experimental.MutableHashTable("string", "int64", -1)
        vectors = tf1.lookup.experimental.MutableHashTable("int64", "float32", [0.0, 9.0])
        keys = tf1.placeholder(tf1.string, None, "keys")
        tf1.group(table.insert(keys, tf1.cast(tf1.strings.length(keys), "int64")), name="insert")
        tf1.group(table.remove(keys), name="remove")
        tf1.identity(table.lookup(keys), "found")
        tf1.identity(table.size(), "size")
        tf1.identity(tf1.sort(table.export()[1]), "exported")
        ids = tf1.constant([3, 4], "int64")
        tf1.group(vectors.insert(ids, [[1.0, 2.0], [3.0, 4.0]]), name="insert_vectors")
        tf1.identity(vectors.lookup(tf1.constant([4, 5, 3], "int64")), "found_vectors")

    check(
        tf,
        build,
        Run(["insert"], {"keys:0": ["a", "bb", "ccc"]}),
        Run(["found:0", "size:0", "exported:0"], {"keys:0": [["bb", "x"]]}),
        Run(["insert", "insert_vectors"], {"keys:0": ["dddd"]}),
        Run(["remove"], {"keys:0": ["bb", "x"]}),
        Run(["found:0", "size:0", "exported:0", "found_vectors:0"], {"keys:0": [["bb", "dddd"]]}),
    )


def test_words_out_of_the_vocabulary_go_into_buckets(tf: Any) -> None:
    def build(tf1: Any) -> None:
        table = tf1.lookup.StaticVocabularyTable(
            tf1.lookup.KeyValueTensorInitializer(["a", "b"], tf1.constant([0, 1], "int64")), 1000
        )
        tf1.identity(table.lookup(tf1.placeholder(tf1.string, None, "words")), "ids")
        tf1.tables_initializer(name="init")

    words = ["a", "unknown", "", "ein sehr langes Wort" * 7]
    check(tf, build, Run(["init"]), Run(["ids:0"], {"words:0": words}))

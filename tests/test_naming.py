from __future__ import annotations

from ckptmgr import naming

NAMES = sorted(
    [
        "m-00000-of-00002",
        "m-00001-of-00002",
        "m-00002-of-00002",
        "m-00001-of-00003",
        "m-0-00001-of-00002",
        "m-x0001-of-00002",
        "m.data-00000-of-00001",
        "m.data-00001-of-00002.tmp",
        "m.data-00002-of-00003",
        "m.data-x",
        "m.index",
        "m2.data-00000-of-00001",
        "a.m.data-00000-of-00001",
    ]
)


def test_the_data_shards_of_one_checkpoint() -> None:
    assert naming.shards_of("m", NAMES) == {
        "m.data-00000-of-00001": (0, 1),
        "m.data-00002-of-00003": (2, 3),
    }
    assert naming.shards_of("n", NAMES) == {}


def test_the_files_that_a_v1_pattern_stands_for() -> None:
    assert naming.v1_shards_of("m-?????-of-00002", NAMES) == [
        "m-00000-of-00002",
        "m-00001-of-00002",
    ]
    assert naming.v1_shards_of("m-?????-of-00003", NAMES) == ["m-00001-of-00003"]
    assert naming.v1_shards_of("m-?????-of-00000", NAMES) == []
    assert naming.v1_shards_of("m", NAMES) == []


def test_the_shards_for_which_the_first_one_vouches() -> None:
    assert naming.v1_shards_behind("m-00000-of-00002", NAMES) == ["m-00001-of-00002"]
    assert naming.v1_shards_behind("m-00001-of-00002", NAMES) == []
    assert naming.v1_shards_behind("m.index", NAMES) == []

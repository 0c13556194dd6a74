from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr._proto.tensor_slice_pb2 import TensorSliceProto
from ckptmgr.errors import InvalidArgument, InvalidName, MalformedSlices
from ckptmgr.formats.ordered_code import encode_num_increasing, encode_signed_increasing
from ckptmgr.formats.table_reader import decode_table
from ckptmgr.formats.tensor_slice import (
    Extent,
    Region,
    TensorSlice,
    decode_slice_key,
    encode_slice_key,
    format_slice_spec,
    intersect,
    parse_slice_spec,
    resolve_slice,
    resolve_stored_slice,
    slice_from_proto,
    slice_to_proto,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def sliced(*extents: tuple[int, int] | None) -> TensorSlice:
    return TensorSlice(tuple(Extent() if pair is None else Extent(*pair) for pair in extents))


# (spec text, full shape, slice, table key of tensor "p0", proto)
CASES = [
    (
        "10 4 0,4:0,4",
        (10, 4),
        sliced((0, 4), (0, 4)),
        "007030000101028084" + "8084",
        "0a021004" + "0a021004",
    ),
    ("10 4 0,4:-", (10, 4), sliced((0, 4), None), "0070300001010280" + "84807f", "0a0210040a00"),
    (
        "10 4 7,3:-",
        (10, 4),
        sliced((7, 3), None),
        "0070300001010287" + "83807f",
        "0a04080710030a00",
    ),
    ("20000 -", (20000,), sliced(None), "00703000010101807f", "0a00"),
    (
        "20000 8192,64",
        (20000,),
        sliced((8192, 64)),
        "007030000101" + "01e02000c040",
        "0a05088040" + "1040",
    ),
    ("", (), sliced(), "007030000100", ""),
]


@pytest.mark.parametrize(("spec", "shape", "tensor_slice", "key", "proto"), CASES)
def test_every_form_both_ways(
    spec: str, shape: tuple[int, ...], tensor_slice: TensorSlice, key: str, proto: str
) -> None:
    assert format_slice_spec(shape, tensor_slice) == spec
    assert parse_slice_spec(spec) == ((shape, tensor_slice) if spec else None)
    assert encode_slice_key("p0", tensor_slice).hex() == key
    assert decode_slice_key(bytes.fromhex(key)) == ("p0", tensor_slice)
    message = slice_to_proto(tensor_slice)
    assert message.SerializeToString().hex() == proto
    assert slice_from_proto(TensorSliceProto.FromString(bytes.fromhex(proto))) == tensor_slice


def test_full_is_all_of_every_dimension() -> None:
    assert TensorSlice.full(2) == sliced(None, None)


extents = st.just(Extent()) | st.integers(0, 2**63 - 2).flatmap(
    lambda start: st.integers(1, 2**63 - 1 - start).map(lambda length: Extent(start, length))
)
slices = st.lists(extents, max_size=6).map(lambda parts: TensorSlice(tuple(parts)))


@given(st.text(max_size=12), slices)
def test_keys_round_trip(name: str, tensor_slice: TensorSlice) -> None:
    assert decode_slice_key(encode_slice_key(name, tensor_slice)) == (name, tensor_slice)


@given(slices)
def test_protos_and_specs_round_trip(tensor_slice: TensorSlice) -> None:
    proto = TensorSliceProto.FromString(slice_to_proto(tensor_slice).SerializeToString())
    assert slice_from_proto(proto) == tensor_slice
    shape = (2**63 - 1,) * len(tensor_slice.extents)
    spec = format_slice_spec(shape, tensor_slice)
    assert parse_slice_spec(spec) == ((shape, tensor_slice) if shape else None)


# --------------------------------------------------------------------------- against TensorFlow

# One start per length of the signed code, on both sides of each border.
STARTS = [0, 63, 64, 8191, 8192, *(2**power - low for power in range(20, 63, 7) for low in (1, 0))]


def test_keys_are_those_that_tensorflow_writes(tf: Any, tmp_path: Path) -> None:
    specs = {f"big{start}": f"{2**62 + 8} {start},2" for start in STARTS}
    specs |= {"rows": "10 4 0,2:-", "box": "10 4 0,2:1,2", "\u00ff/x": "3 0,2"}
    shapes = {"rows": (2, 4), "box": (2, 2)}
    names = sorted(specs)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "m"),
        tensor_names=names,
        shape_and_slices=[specs[name] for name in names],
        tensors=[tf.zeros(shapes.get(name, (2,))) for name in names],
    )
    written = {key for key in decode_table((tmp_path / "m.index").read_bytes()) if key[:1] == b"\0"}
    expected = set()
    for name, spec in specs.items():
        parsed = parse_slice_spec(spec)
        assert parsed is not None
        expected.add(encode_slice_key(name, parsed[1]))
    assert written == expected
    assert {decode_slice_key(key)[0] for key in written} == set(names)


def test_every_slice_key_of_the_golden_bundles_decodes() -> None:
    seen = []
    for path in (
        GOLDEN / "v2_partitioned" / "model.index",
        GOLDEN / "v2_sharded" / "model-3.index",
    ):
        for key, _ in [*decode_table(path.read_bytes()).items()]:
            if key.startswith(b"\0"):
                name, tensor_slice = decode_slice_key(key)
                assert encode_slice_key(name, tensor_slice) == key
                seen.append(name)
    assert len(seen) > 5


# (spec, what TensorFlow says)
REFUSED_BY_TENSORFLOW = [
    ("-", "least two elements"),
    ("10 4", "Expected a pair of numbers or '-'"),
    ("4 0,4,1", "Expected a pair of numbers or '-'"),
    ("4 0, 2", "Expected a pair of numbers or '-'"),
    ("4 0,0", "positive length"),
    ("4 -1,2", "non-negative start"),
    ("4 2,3", "out of bounds"),
    ("4 0,2:-", "Mismatching ranks"),
    ("4 4 -", "Mismatching ranks"),
    ("4  0,2", "numerical dimension"),
    ("x -", "numerical dimension"),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED_BY_TENSORFLOW)
def test_refuses_the_specs_that_tensorflow_refuses(
    tf: Any, tmp_path: Path, spec: str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match="slice spec"):
        parse_slice_spec(spec)
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.InternalError), match=message):
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "m"),
            tensor_names=["t"],
            shape_and_slices=[spec],
            tensors=[tf.zeros((2,))],
        )


# --------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("-", r"slice spec '-': slice - does not fit a tensor of shape \(\)"),
        ("10 4 ", "expected '-' or 'start,length', found ''"),
        ("10  0,4", "expected a dimension's size, found ''"),
        ("10 0,4 ", "expected a dimension's size, found '0,4'"),
        (" 10 0,4", "expected a dimension's size, found ''"),
        ("-3 -", "expected a dimension's size, found '-3'"),
        ("\u0663 -", "expected a dimension's size"),
        ("9223372036854775808 -", "expected a dimension's size"),
        ("9" * 5000 + " -", "expected a dimension's size"),
        ("10 0,-1", "expected '-' or 'start,length', found '0,-1'"),
        ("10 0,0", "at least 1 long, found start 0, length 0"),
        ("10 9223372036854775807,1", "found start 9223372036854775807, length 1"),
        ("10 8,3", r"slice 8,3 does not fit a tensor of shape \(10,\)"),
        ("10 4 0,4", r"slice 0,4 does not fit a tensor of shape \(10, 4\)"),
        (" ".join(["1"] * 255) + " " + ":".join("-" * 255), "at most 254 dimensions, found 255"),
    ],
)
def test_refuses_a_spec(spec: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_slice_spec(spec)


@given(st.text("0123456789,:- ", max_size=20))
def test_any_spec_gives_a_slice_or_the_documented_error(spec: str) -> None:
    try:
        parsed = parse_slice_spec(spec)
    except InvalidArgument:
        return
    if parsed is not None:
        assert resolve_slice(parsed[1], parsed[0])


P0 = "0070300001"


def pair(start: int, length: int) -> str:
    return (encode_signed_increasing(start) + encode_signed_increasing(length)).hex()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "cut off"),
        ("0101" + P0[2:] + "00", "not a slice key: .* found 1"),
        ("007030", "a string in a slice key is cut off"),
        (P0, "a number in a slice key is cut off"),
        (P0 + "010180", "a number in a slice key is cut off"),
        (P0 + "00" + "00", "goes on behind its slice: expected 6 bytes, found 7 bytes"),
        (P0 + "01ff", "too many dimensions: expected at most 254, found 255"),
        (P0 + encode_num_increasing(2**64 - 1).hex(), "too many dimensions"),
        (P0 + "0101" + pair(-1, 4), "impossible extent: .* found start -1, length 4"),
        (P0 + "0101" + pair(0, 0), "impossible extent: .* found start 0, length 0"),
        (P0 + "0101" + pair(0, -2), "impossible extent: .* found start 0, length -2"),
        (P0 + "0101" + pair(1, -1), "impossible extent: .* found start 1, length None"),
        (P0 + "0101" + pair(2**63 - 1, 1), "impossible extent"),
        ("00ff00000100", r"is not UTF-8: expected UTF-8, found b'\\xff'"),
    ],
)
def test_refuses_a_key(key: str, message: str) -> None:
    with pytest.raises(MalformedSlices, match=message):
        decode_slice_key(bytes.fromhex(key))


@given(st.binary(max_size=20))
def test_any_key_gives_what_made_it_or_the_documented_error(tail: bytes) -> None:
    for key in (tail, bytes.fromhex(P0) + tail):
        try:
            name, tensor_slice = decode_slice_key(key)
        except MalformedSlices:
            continue
        assert encode_slice_key(name, tensor_slice) == key


def test_refuses_a_name_that_utf8_cannot_hold() -> None:
    with pytest.raises(InvalidName, match=r"'\\ud800' cannot be encoded"):
        encode_slice_key("\ud800", sliced())


@pytest.mark.parametrize(
    ("start", "length"), [(-1, 2), (0, 0), (0, -1), (2**63 - 1, 1), (5, None), (0, 2**63)]
)
def test_refuses_an_extent(start: int, length: int | None) -> None:
    with pytest.raises(InvalidArgument, match=f"extent .* found .*{start}"):
        Extent(start, length)
    proto = TensorSliceProto()
    if length is None or length < 2**63:
        proto.extent.add(start=start, length=length)
        with pytest.raises(MalformedSlices, match=f"extent: .* start {start}, length {length}"):
            slice_from_proto(proto)


def test_refuses_a_proto_of_too_many_dimensions() -> None:
    proto = TensorSliceProto(extent=[TensorSliceProto.Extent()] * 255)
    with pytest.raises(MalformedSlices, match="at most 254, found 255"):
        slice_from_proto(proto)


# --------------------------------------------------------------------------- regions


def test_resolves_against_a_shape() -> None:
    assert resolve_slice(sliced((2, 3), None), (5, 4)) == Region((2, 0), (3, 4))
    assert resolve_stored_slice(sliced((2, 3), None), (5, 4)) == Region((2, 0), (3, 4))
    assert resolve_slice(sliced(), ()) == Region((), ())
    assert resolve_slice(sliced(None), (0,)) == Region((0,), (0,))


@pytest.mark.parametrize("shape", [(5,), (5, 4, 3), (4, 4), ()])
def test_refuses_a_slice_that_leaves_its_tensor(shape: tuple[int, ...]) -> None:
    tensor_slice = sliced((2, 3), None)
    with pytest.raises(InvalidArgument, match=r"slice 2,3:- does not fit a tensor of shape \("):
        resolve_slice(tensor_slice, shape)
    with pytest.raises(MalformedSlices, match=r"stored slice does not fit .*, found 2,3:-"):
        resolve_stored_slice(tensor_slice, shape)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (Region((0,), (4,)), Region((2,), (4,)), Region((2,), (2,))),
        (Region((0,), (9,)), Region((2,), (4,)), Region((2,), (4,))),
        (Region((0,), (2,)), Region((2,), (4,)), None),
        (Region((0,), (2,)), Region((5,), (4,)), None),
        (Region((0, 0), (4, 4)), Region((2, 4), (2, 2)), None),
        (Region((0, 1), (4, 4)), Region((2, 0), (4, 2)), Region((2, 1), (2, 1))),
        (Region((), ()), Region((), ()), Region((), ())),
        (Region((0,), (0,)), Region((0,), (0,)), None),
    ],
)
def test_intersect(one: Region, other: Region, common: Region | None) -> None:
    assert intersect(one, other) == common
    assert intersect(other, one) == common


ranges = st.tuples(st.integers(0, 5), st.integers(1, 5))
boxes = st.tuples(ranges, ranges).map(lambda pairs: Region(*zip(*pairs, strict=True)))


@given(boxes, boxes)
def test_an_intersection_holds_the_elements_that_both_hold(one: Region, other: Region) -> None:
    whole = np.arange(100).reshape(10, 10)
    everything = Region((0, 0), (10, 10))
    in_both = set(whole[one.within(everything)].flat) & set(whole[other.within(everything)].flat)
    common = intersect(one, other)
    if common is None:
        assert not in_both
        return
    assert math.prod(common.lengths) == len(in_both)
    part = whole[one.within(everything)]
    assert set(part[common.within(one)].flat) == in_both

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr import errors
from ckptmgr.bundle.slices import cover, whole
from ckptmgr.formats.tensor_slice import Extent, Region, TensorSlice

Box = tuple[tuple[int, int], ...]


def tensor_slice(box: Box) -> TensorSlice:
    return TensorSlice(tuple(Extent(*bounds) for bounds in box))


@st.composite
def partitions(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Box], Region]:
    """A shape, boxes in it (a grid, with some added or missing), and a region."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    cuts = [sorted(draw(st.sets(st.integers(1, size), max_size=2)) | {0, size}) for size in shape]
    ranges = [[(a, b - a) for a, b in itertools.pairwise(cut)] for cut in cuts]
    boxes = draw(st.permutations(list(itertools.product(*ranges))))
    boxes = boxes[draw(st.sampled_from([0, 0, 0, 1])) :]

    def box() -> Box:
        starts = [draw(st.integers(0, size - 1)) for size in shape]
        return tuple(
            (start, draw(st.integers(1, size - start)))
            for start, size in zip(starts, shape, strict=True)
        )

    boxes += [box() for _ in range(draw(st.sampled_from([0, 0, 0, 1])))]
    starts, lengths = zip(*box(), strict=True)
    return shape, boxes, Region(starts, lengths)


@given(partitions())
def test_like_counting_each_element(case: tuple[tuple[int, ...], list[Box], Region]) -> None:
    shape, boxes, region = case
    times = np.zeros(shape, int)
    for box in boxes:
        times[tuple(slice(start, start + length) for start, length in box)] += 1
    wanted = region.within(whole(shape))
    stored = [tensor_slice(box) for box in boxes]
    if (times[wanted] == 1).all():
        filled = np.zeros(shape, int)
        for part in cover(shape, stored, region):
            filled[part.shared.within(whole(shape))] += 1
            assert part.stored in stored
        assert (filled[wanted] == 1).all()
        assert filled.sum() == filled[wanted].sum()
    else:
        problem = "overlap" if (times[wanted] > 1).any() else "do not cover"
        with pytest.raises(errors.MalformedSlices, match=problem):
            cover(shape, stored, region)


@pytest.mark.parametrize(
    ("shape", "boxes", "message"),
    [
        ((4,), [((0, 2),)], "do not cover the tensor: expected 4 elements, found 2 elements in 1"),
        ((4,), [], "expected 4 elements, found 0 elements in 0 slices"),
        ((4,), [((0, 3),), ((2, 2),)], "overlap: expected .*, found 0,3 and 2,2"),
        ((2, 2), [((0, 2), (0, 1)), ((1, 1), (0, 2))], "overlap"),
        ((), [(), ()], "overlap"),
        ((4,), [((0, 5),)], "does not fit its tensor"),
        ((4,), [((0, 4), (0, 1))], "does not fit its tensor"),
    ],
)
def test_refused(shape: tuple[int, ...], boxes: list[Box], message: str) -> None:
    with pytest.raises(errors.MalformedSlices, match=message):
        cover(shape, [tensor_slice(box) for box in boxes], whole(shape))


def test_full_extents_and_scalars() -> None:
    (part,) = cover((3, 2), [TensorSlice.full(2)], whole((3, 2)))
    assert part.stored_region == part.shared == whole((3, 2))
    assert len(cover((), [TensorSlice.full(0)], whole(()))) == 1
    assert cover((0, 3), [TensorSlice.full(2)], whole((0, 3))) == []


@pytest.mark.parametrize("dimension", [0, 1])
def test_many_slices_of_one_dimension(dimension: int) -> None:
    shape = [1, 1]
    shape[dimension] = count = 20_000
    boxes = [[(0, 1), (0, 1)] for _ in range(count)]
    for position, box in enumerate(boxes):
        box[dimension] = (position, 1)
    started = time.perf_counter()
    assert (
        len(cover(tuple(shape), [tensor_slice(tuple(b)) for b in boxes], whole(tuple(shape))))
        == count
    )
    assert time.perf_counter() - started < 10


def test_slices_made_to_waste_time_are_refused() -> None:
    # Each is long in one dimension and one row of the other: all are open at once in both sweeps.
    count = 20_000
    boxes = [((i, 2 * count), (i, 1)) for i in range(count)]
    with pytest.raises(errors.MalformedSlices, match=f"too many .*found {count} slices"):
        cover((3 * count, count), [tensor_slice(box) for box in boxes], whole((3 * count, count)))

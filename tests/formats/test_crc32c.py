from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmgr.formats.crc32c import combine, crc32c, mask, unmask

# Check value of the CRC catalogue, RFC 3720 appendix B.4, and the masked form of each.
VECTORS = [
    (b"", 0x00000000, 0xA282EAD8),
    (b"123456789", 0xE3069283, 0xC78AB0E5),
    (b"\x00" * 32, 0x8A9136AA, 0x0FD7FFFA),
    (b"\xff" * 32, 0x62A8AB43, 0xF909B029),
    (bytes(range(32)), 0x46DD794E, 0x951F7892),
]


@pytest.mark.parametrize(("data", "crc", "masked"), VECTORS)
def test_published_vectors(data: bytes, crc: int, masked: int) -> None:
    assert crc32c(data) == crc
    assert mask(crc) == masked
    assert unmask(masked) == crc


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer(kind: type) -> None:
    assert crc32c(kind(b"123456789")) == 0xE3069283


def test_an_array_goes_in_through_its_data() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert crc32c(array.data) == crc32c(array.tobytes())
    with pytest.raises(BufferError):
        crc32c(array[:, ::2].data)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_continues_from_the_checksum_of_what_came_before(head: bytes, tail: bytes) -> None:
    assert crc32c(tail, crc32c(head)) == crc32c(head + tail)


@given(st.integers(0, 2**32 - 1))
def test_unmask_inverts_mask(crc: int) -> None:
    assert 0 <= mask(crc) < 2**32
    assert unmask(mask(crc)) == crc


@pytest.mark.parametrize("second_length", [0, 1, 7, 8, 255, 4096, 4097, 1 << 20, (1 << 20) + 3])
def test_parts_combine_into_the_checksum_of_the_whole(second_length: int) -> None:
    data = bytes(range(256)) * (((second_length + 1000) // 256) + 1)
    first, second = data[:1000], data[1000 : 1000 + second_length]
    whole = crc32c(first + second)
    assert combine(crc32c(first), crc32c(second), second_length) == whole
    assert combine(0, crc32c(second), second_length) == crc32c(second)

"""Several files as one input: `number of the file (u8), length (u32), content`, again and again.

Any bytes are some files: a length that is too long ends with the input.
"""

from __future__ import annotations

_LENGTH_BYTES = 4


def pack(files: dict[int, bytes]) -> bytes:
    return b"".join(
        bytes((number,)) + len(content).to_bytes(_LENGTH_BYTES, "little") + content
        for number, content in sorted(files.items())
    )


def unpack(data: bytes) -> dict[int, bytes]:
    files: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        start = at + 1 + _LENGTH_BYTES
        end = start + int.from_bytes(data[at + 1 : start], "little")
        files[data[at]] = data[start:end]
        at = end
    return files

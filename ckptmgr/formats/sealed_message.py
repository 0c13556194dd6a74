"""A protobuf message in a file, behind a field with the checksum of its bytes.

    0   3  FD FF 7F   the tag of field 262,143, of the kind fixed32
    3   4  checksum   masked CRC-32C of all that follows, little-endian
    7      message

To a parser that does not know the field, TensorFlow's for one, the file is the message: it skips
the field, or keeps it and writes it behind what it knows. So a file that begins with the field is
one that nobody has changed since it was written, or that is damaged.

No message that is stored this way begins with a byte like the tag's first: their own fields have
small numbers, whose tags are one byte below 0x80. So a tag that differs in some bits is damage too.

Source: https://protobuf.dev/programming-guides/encoding (unknown fields).
"""

from __future__ import annotations

from ckptmgr import errors
from ckptmgr.formats.crc32c import crc32c, mask

_TAG = bytes([0xFD, 0xFF, 0x7F])
_CHECKSUM_BYTES = 4
#: Of the field in front of the message.
SEAL_BYTES = len(_TAG) + _CHECKSUM_BYTES

# A tag with fewer wrong bits than this is taken for a damaged one. Those of protobuf's fields 1 to
# 15 differ from it in the first bit and more; text does, too.
_FEWEST_BITS_APART = 4


def seal(message: bytes) -> bytes:
    """Put the checksum in front of an encoded message."""
    return _TAG + mask(crc32c(message)).to_bytes(_CHECKSUM_BYTES, "little") + message


def stored_checksum(head: bytes) -> int | None:
    """The masked checksum of what follows the first `SEAL_BYTES` of a file; None if it has none.

    Raises:
        TruncatedFile: There is nothing, or only part of the field.
        ChecksumMismatch: The field's tag is damaged.
    """
    if len(head) < SEAL_BYTES and (not head or head.startswith(_TAG[: len(head)])):
        raise errors.TruncatedFile(
            "the file ends before its message", expected="a message", found=f"{len(head)} bytes"
        )
    tag = head[: len(_TAG)]
    if tag == _TAG:
        return int.from_bytes(head[len(_TAG) : SEAL_BYTES], "little")
    bits_apart = (int.from_bytes(tag, "little") ^ int.from_bytes(_TAG, "little")).bit_count()
    if len(tag) == len(_TAG) and bits_apart < _FEWEST_BITS_APART:
        raise errors.ChecksumMismatch(
            "the tag of the checksum is damaged", expected=_TAG.hex(), found=tag.hex()
        )
    return None


def check_seal(stored: int, crc: int) -> None:
    """Compare the stored checksum with that of what follows it, which is not masked yet.

    Raises:
        ChecksumMismatch: They differ.
    """
    if stored != mask(crc):
        raise errors.ChecksumMismatch(
            "the checksum of the message differs",
            expected=f"0x{stored:08x}",
            found=f"0x{mask(crc):08x}",
        )


def unseal(content: bytes) -> bytes:
    """The message in a file, with or without a checksum in front of it.

    Raises:
        TruncatedFile, ChecksumMismatch: What follows the checksum is not what it was taken of.
    """
    stored = stored_checksum(content[:SEAL_BYTES])
    if stored is None:
        return content
    message = content[SEAL_BYTES:]
    check_seal(stored, crc32c(message))
    return message

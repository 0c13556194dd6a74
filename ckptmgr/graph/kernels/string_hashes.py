"""The hashes that TensorFlow puts strings into buckets with, on unsigned numbers of 64 bits.

Source: FarmHash (farmhashna::Hash64, which is its Fingerprint64), SipHash-2-4, and
tensorflow/core/platform/hash.cc (Hash64).
"""

from __future__ import annotations

from collections.abc import Sequence

_MASK = 2**64 - 1

# FarmHash's primes.
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F


def fingerprint64(data: bytes) -> int:
    """FarmHash's hash, which is the same on all machines and in all versions."""
    size = len(data)
    if size <= 16:
        return _hash_up_to_16(data)
    if size <= 32:
        return _hash_up_to_32(data)
    if size <= 64:
        return _hash_up_to_64(data)
    return _hash_longer(data)


def _word(data: bytes, offset: int, size: int = 8) -> int:
    return int.from_bytes(data[offset : offset + size], "little")


def _rotate_right(value: int, bits: int) -> int:
    value &= _MASK
    return (value >> bits | value << (64 - bits)) & _MASK


def _shift_mix(value: int) -> int:
    value &= _MASK
    return value ^ (value >> 47)


def _mix(first: int, second: int, factor: int) -> int:
    inner = _shift_mix(((first ^ second) & _MASK) * factor)
    outer = _shift_mix(((second ^ inner) & _MASK) * factor)
    return outer * factor & _MASK


def _hash_up_to_16(data: bytes) -> int:
    size = len(data)
    factor = (_K2 + size * 2) & _MASK
    if size >= 8:
        first, last = (_word(data, 0) + _K2) & _MASK, _word(data, size - 8)
        low = _rotate_right(last, 37) * factor + first
        high = (_rotate_right(first, 25) + last) * factor
        return _mix(low & _MASK, high & _MASK, factor)
    if size >= 4:
        return _mix(size + (_word(data, 0, 4) << 3), _word(data, size - 4, 4), factor)
    if size:
        low = data[0] + (data[size >> 1] << 8)
        high = size + (data[-1] << 2)
        return _shift_mix(low * _K2 & _MASK ^ high * _K0 & _MASK) * _K2 & _MASK
    return _K2


def _hash_up_to_32(data: bytes) -> int:
    size = len(data)
    factor = (_K2 + size * 2) & _MASK
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    low = _rotate_right(a + b, 43) + _rotate_right(c, 30) + d
    return _mix(low & _MASK, (a + _rotate_right(b + _K2, 18) + c) & _MASK, factor)


def _hash_up_to_64(data: bytes) -> int:
    size = len(data)
    factor = (_K2 + size * 2) & _MASK
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    low = (_rotate_right(a + b, 43) + _rotate_right(c, 30) + d) & _MASK
    high = _mix(low, (a + _rotate_right(b + _K2, 18) + c) & _MASK, factor)
    e, f = _word(data, 16) * factor, _word(data, 24)
    g = (low + _word(data, size - 32)) * factor
    h = (high + _word(data, size - 24)) * factor
    last = _rotate_right(e + f, 43) + _rotate_right(g, 30) + h
    return _mix(last & _MASK, (e + _rotate_right(f + a, 18) + g) & _MASK, factor)


def _weak_hash(data: bytes, offset: int, a: int, b: int) -> tuple[int, int]:
    """Of 32 bytes, with two seeds."""
    first, second, third, fourth = (_word(data, offset + at) for at in (0, 8, 16, 24))
    a += first
    b = _rotate_right(b + a + fourth, 21)
    start = a
    a += second + third
    b += _rotate_right(a, 44)
    return (a + fourth) & _MASK, (b + start) & _MASK


_State = tuple[int, int, int, tuple[int, int], tuple[int, int]]


def _round(data: bytes, offset: int, state: _State, factors: tuple[int, int, int]) -> _State:
    """Take in 64 bytes."""
    x, y, z, v, w = state
    factor, of_w, of_v = factors
    x = _rotate_right(x + y + v[0] + _word(data, offset + 8), 37) * factor & _MASK
    y = _rotate_right(y + v[1] + _word(data, offset + 48), 42) * factor & _MASK
    x ^= w[1] * of_w & _MASK
    y = (y + v[0] * of_v + _word(data, offset + 40)) & _MASK
    z = _rotate_right(z + w[0], 33) * factor & _MASK
    v = _weak_hash(data, offset, v[1] * factor, x + w[0])
    w = _weak_hash(data, offset + 32, z + w[1], y + _word(data, offset + 16))
    return z, y, x, v, w


def _hash_longer(data: bytes) -> int:
    size = len(data)
    y = (81 * _K1 + 113) & _MASK
    z = _shift_mix(y * _K2 + 113) * _K2 & _MASK
    state: _State = ((81 * _K2 + _word(data, 0)) & _MASK, y, z, (0, 0), (0, 0))
    for offset in range(0, (size - 1) // 64 * 64, 64):
        state = _round(data, offset, state, (_K1, 1, 1))
    x, y, z, v, w = state
    factor = (_K1 + ((z & 0xFF) << 1)) & _MASK
    w_first = w[0] + (size - 1) % 64
    v_first = v[0] + w_first
    state = (x, y, z, (v_first, v[1]), (w_first + v_first, w[1]))
    x, y, z, v, w = _round(data, size - 64, state, (factor, 9, 9))
    low = _mix(v[0], w[0], factor) + _shift_mix(y) * _K0 + z
    return _mix(low & _MASK, (_mix(v[1], w[1], factor) + x) & _MASK, factor)


# --------------------------------------------------------------------------- with a key


def keyed_hash(data: bytes, key: Sequence[int]) -> int:
    """SipHash-2-4: nobody who does not know the key can make many strings collide."""
    k0, k1 = (number & _MASK for number in key)
    state = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    whole = len(data) // 8 * 8
    words = [_word(data, offset) for offset in range(0, whole, 8)]
    words.append(_word(data, whole) | (len(data) & 0xFF) << 56)
    for word in words:
        state[3] ^= word
        _sip_rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _sip_rounds(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _rotate_left(value: int, bits: int) -> int:
    return _rotate_right(value, 64 - bits)


def _sip_rounds(state: list[int], count: int) -> None:
    a, b, c, d = state
    for _ in range(count):
        a, c = (a + b) & _MASK, (c + d) & _MASK
        b, d = _rotate_left(b, 13) ^ a, _rotate_left(d, 16) ^ c
        a = _rotate_left(a, 32)
        c, a = (c + b) & _MASK, (a + d) & _MASK
        b, d = _rotate_left(b, 17) ^ c, _rotate_left(d, 21) ^ a
        c = _rotate_left(c, 32)
    state[:] = a, b, c, d


# --------------------------------------------------------------------------- the oldest one

_FACTOR = 0xC6A4A7935BD1E995
_SEED = 0xDECAFCAFFE


def legacy_hash64(data: bytes) -> int:
    """MurmurHash64A, as StringToHashBucket uses it."""
    value = _SEED ^ (len(data) * _FACTOR & _MASK)
    whole = len(data) // 8 * 8
    for offset in range(0, whole, 8):
        word = _word(data, offset) * _FACTOR & _MASK
        word ^= word >> 47
        value = (value ^ word * _FACTOR & _MASK) * _FACTOR & _MASK
    if whole < len(data):
        value = (value ^ _word(data, whole)) * _FACTOR & _MASK
    value = (value ^ value >> 47) * _FACTOR & _MASK
    return value ^ value >> 47

"""Small changes of bytes, numbers, texts, protobuf messages and JSON, from a seeded `Random`.

What a parser may stumble over (the edges of integer types, lengths one off, empty and huge values)
is chosen far more often than chance would.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from google.protobuf.message import Message

_EDGES = (
    *(0, 1, 2, 3, 4, 7, 15, 16, 63, 64, 100, 127, 128, 129, 254, 255, 256, 1000, 65535, 65536),
    *(2**20, 2**28 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1),
)
_TOKENS = (
    *(b"", b"\0", b"\0\0", b"\xff", b"\xff\xff\xff\xff", b"\x80", b"..", b"/", b"../../etc/x"),
    *(
        b"/etc/x",
        b"\n",
        b"\\n",
        b"\\377",
        b"\\ud800",
        b'"',
        b"'",
        b"*",
        b"\xc3\xa4",
        b"\xed\xa0\x80",
    ),
    *(b"a" * 300, b"x/" * 40, b"%s", b"nan", b"inf", b"-1", b"1e999", b"{", b"}", b"[", b"]", b"#"),
)
# As in an input that grows without bound, nothing more would be learned.
_MOST_BYTES = 1 << 16

# FieldDescriptor.CPPTYPE_*
_BITS = {1: (-(2**31), 2**31 - 1), 2: (-(2**63), 2**63 - 1), 3: (0, 2**32 - 1), 4: (0, 2**64 - 1)}
_FLOATS, _BOOL, _ENUM, _STRING, _MESSAGE = (5, 6), 7, 8, 9, 10
# FieldDescriptor.TYPE_BYTES
_TYPE_BYTES = 12


def mutate_int(value: int, random: Random) -> int:
    match random.randrange(5):
        case 0:
            return random.choice(_EDGES)
        case 1:
            return value + random.choice((-2, -1, 1, 2))
        case 2:
            return value * 2 if random.random() < 0.5 else value // 2
        case 3:
            return value ^ (1 << random.randrange(63))
        case _:
            return -random.choice(_EDGES)


def mutate_bytes(data: bytes, random: Random) -> bytes:
    content = bytearray(data[:_MOST_BYTES])
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(content) + 1)
        length = random.choice((1, 1, 2, 4, 8, 32))
        match random.randrange(8):
            case 0 if content:
                at %= len(content)
                content[at] ^= 1 << random.randrange(8)
            case 1 if content:
                content[at % len(content)] = random.randrange(256)
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = random.randbytes(length)
            case 4:
                start = random.randrange(len(content) + 1)
                content[at:at] = content[start : start + length]
            case 5:
                edge = random.choice(_EDGES)
                content[at : at + 8] = (edge % 2**64).to_bytes(8, "little")[: random.choice((4, 8))]
            case 6:
                content[at:at] = random.choice(_TOKENS)
            case _:
                del content[at:]
    return bytes(content)


def mutate_text(text: str, random: Random) -> str:
    return mutate_bytes(text.encode("utf-8", "surrogatepass"), random).decode("utf-8", "ignore")


# --------------------------------------------------------------------------- protobuf messages


def mutate_message(message: Message, random: Random) -> None:
    """Change one field, anywhere in the message."""
    if not message.DESCRIPTOR.fields:
        return
    present: list[Any] = [field for field, _ in message.ListFields()]
    use_present = present and random.random() < 0.8
    field: Any = random.choice(present if use_present else list(message.DESCRIPTOR.fields))
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _mutate_map(field, value, random)
    elif hasattr(value, "append") or hasattr(value, "add"):
        _mutate_repeated(message, field, value, random)
    elif field.cpp_type != _MESSAGE:
        _set(lambda changed: setattr(message, field.name, changed), field, value, random)
    elif random.random() < 0.1:
        message.ClearField(field.name)
    else:
        value.SetInParent()
        mutate_message(value, random)


def _mutate_repeated(message: Message, field: Any, values: Any, random: Random) -> None:
    is_message = field.cpp_type == _MESSAGE
    action = random.randrange(6)
    if not values or action == 0:
        if is_message:
            values.add()
        else:
            _set(values.append, field, _empty(field), random)
    elif action == 1:
        del values[random.randrange(len(values))]
    elif action == 2:
        values.extend([copy.deepcopy(random.choice(values))] * random.choice((1, 1, 2, 70)))
    elif action == 3 and random.random() < 0.3:
        message.ClearField(field.name)
    else:
        place = random.randrange(len(values))
        if is_message:
            mutate_message(values[place], random)
        else:
            _set(lambda changed: values.__setitem__(place, changed), field, values[place], random)


def _mutate_map(field: Any, values: Any, random: Random) -> None:
    key_field, value_field = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    action = random.randrange(6)
    if not values or action == 0:
        key = _scalar(key_field, _empty(key_field), random)
    else:
        # The order of a map is nobody's promise, and inputs must be the same each time.
        key = random.choice(sorted(values))
        if action == 1:
            del values[key]
            return
    if action == 2:
        key, copied = _scalar(key_field, key, random), values[key]
        if value_field.cpp_type == _MESSAGE:
            values[key].CopyFrom(copied)
        else:
            values[key] = copied
    elif value_field.cpp_type == _MESSAGE:
        mutate_message(values[key], random)
    else:
        _set(lambda changed: values.__setitem__(key, changed), value_field, values[key], random)


def _empty(field: Any) -> Any:
    if field.cpp_type != _STRING:
        return 0
    return b"" if field.type == _TYPE_BYTES else ""


def _set(store: Callable[[Any], None], field: Any, value: Any, random: Random) -> None:
    store(_scalar(field, value, random))


def _scalar(field: Any, value: Any, random: Random) -> Any:
    if field.cpp_type in _FLOATS:
        return random.choice((0.0, -0.0, 1.5, float("nan"), float("inf"), -1e300, 1e300, value + 1))
    if field.cpp_type == _BOOL:
        return not value
    if field.cpp_type == _ENUM:
        return random.choice((random.randrange(-1, 40), 101, 107, 2**31 - 1, -(2**31)))
    if isinstance(value, bytes):
        return mutate_bytes(value, random)
    if field.cpp_type == _STRING:
        return mutate_text(value, random)
    low, high = _BITS[field.cpp_type]
    return min(max(mutate_int(value, random), low), high)


# --------------------------------------------------------------------------- JSON


def mutate_json(data: bytes, random: Random) -> bytes:
    """Change one value of a JSON text, or the text where it is none."""
    try:
        return json.dumps(_mutated(json.loads(data), random)).encode()
    except (ValueError, RecursionError):
        return mutate_bytes(data, random)


def _mutated(value: Any, random: Random) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice(list(value))
        match random.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[mutate_text(str(key), random)] = copy.deepcopy(value[key])
            case _:
                value[key] = _mutated(value[key], random)
        return value
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        match random.randrange(8):
            case 0:
                del value[place]
            case 1:
                value.append(copy.deepcopy(value[place]))
            case _:
                value[place] = _mutated(value[place], random)
        return value
    return _other_json(value, random)


def _other_json(value: Any, random: Random) -> Any:
    match random.randrange(9):
        case 0:
            return mutate_int(value if isinstance(value, int) else 0, random)
        case 1:
            return mutate_text(value if isinstance(value, str) else "", random)
        case 2:
            return random.choice((None, True, False, 0.5, -1e308, 10**400, [], {}, "", "nan"))
        case 3:
            return [value]
        case 4:
            kinds = ("dict", "fields", "items", "list", "tuple", "object", "random", "counter", "x")
            return {random.choice(kinds): value}
        case 5:
            return random.choice(({"dict": {"k": value}}, {"items": [["k", value], [0, value]]}))
        case 6:
            return {"versioned": [{}, {"dict": {"k": value}}]}
        case 7:
            nested = value
            for _ in range(random.choice((50, 250, 900))):
                nested = random.choice(({"list": [nested]}, [nested]))
            return nested
        case _:
            return random.choice(("array", "scalar", "int", "bytes", "str", "bigint", "none"))

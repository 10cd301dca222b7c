"""Seeded damage to files: to bytes of any kind, to JSON, to the header of a safetensors file."""

import copy
import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

DEEP = 30_000  # brackets; Python's own limit is near 1,000

# What foreign text may hold that a terminal, a picture or an encoder does not take.
NASTY_TEXTS = (
    "",
    " ",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "bell\x07",
    "\x9b31m",
    "line\nbreak",
    "car\rriage",
    "nul\x00byte",
    "\ud800",
    "\U0001d518\U0001f600",
    "\u202egnp.evil",
    "$x_{$",
    "$\\frac$",
    "a" * 5000,
    "../../etc/passwd",
    "/dev/zero",
    "evil.py:Prior",
    "os:system",
    "${HOME}",
    "{0.__class__}",
    "%s%n",
    "<script>alert(1)</script>",
)
# The same as an operating system hands it over: in an argument, or as the name of a file.
NASTY_WORDS = tuple(text.replace("\x00", "").replace("\ud800", "\udcff") for text in NASTY_TEXTS)
NASTY_NUMBERS = (
    0, -1, 1, 2**31, 2**63, 10**30, -(10**18), 1e308, -1e308, 1e-320, 0.5,
    float("nan"), float("inf"), -float("inf"),
)  # fmt: skip


def nasty_text(random: Random) -> str:
    return random.choice(NASTY_TEXTS)


def nasty_word(random: Random) -> str:
    return random.choice(NASTY_WORDS)


def nasty_value(random: Random, depth: int = 2) -> Any:
    kind = random.choice([0, 1, 2, 3, 4, 5] if depth else [0, 1, 2, 5])
    if kind == 0:
        return nasty_text(random)
    if kind == 1:
        return random.choice(NASTY_NUMBERS)
    if kind == 2:
        return random.choice([None, True, False, [], {}, [[]], {"": None}])
    if kind == 3:
        return [nasty_value(random, depth - 1) for _ in range(random.choice([1, 2, 30]))]
    if kind == 4:
        return {nasty_text(random): nasty_value(random, depth - 1)}
    return random.choice([[0] * 2000, "9" * 6000, [None] * 50, {"refused": nasty_text(random)}])


# -- bytes -----------------------------------------------------------------------------------------


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 4, 30])):
        place = random.randrange(len(changed))
        changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content))
    filler = random.choice([b"\0", b"\xff", b"[", b"{", b"\x1b[31m", b"9"])
    length = random.choice([1, 4, 8, 64])
    piece = (filler * length)[:length]
    return content[:start] + piece + content[start + length :]


def _remove(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content))
    return content[:start] + content[start + random.choice([1, 2, 8, 100]) :]


def _insert(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + random.randbytes(random.choice([1, 8, 500])) + content[start:]


def _lengthen(content: bytes, random: Random) -> bytes:
    return content + random.choice([content, b"\0" * 64, b"\n", b"{}", content[-20:]])


def _replace(content: bytes, random: Random) -> bytes:
    del content
    return random.choice(
        [
            b"",
            b"\n",
            b"null",
            b"[]",
            b"{}",
            b"\xff\xfe\x00",
            b"[" * DEEP,
            b'{"a":' * DEEP,
            b"9" * 6000,
            b"1e99999",
            b"%!PS-Adobe-3.0\n(hello) show\n",
            b"\x80\x04\x95.",
            b"PK\x03\x04" + b"\0" * 50,
            b"\x93NUMPY\x01\x00",
            random.randbytes(300),
        ]
    )


_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _cut, _cut, _flip, _flip, _overwrite, _remove, _insert, _lengthen, _replace,
)  # fmt: skip


def damaged(content: bytes, random: Random) -> bytes:
    """The bytes with one kind of damage."""
    if not content:
        return _replace(content, random)
    return random.choice(_BYTES)(content, random)


# -- JSON ------------------------------------------------------------------------------------------


def _places(record: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values in a record."""
    places = [path] if path else []
    entries = record.items() if isinstance(record, dict) else enumerate(record)
    for key, value in entries:
        if isinstance(value, (dict, list)):
            places += _places(value, (*path, key))
        else:
            places.append((*path, key))
    return places


def changed_record(record: Any, random: Random) -> Any:
    """The record with one or a few values replaced, removed, added or renamed."""
    record = copy.deepcopy(record)
    for _ in range(random.choice([1, 1, 1, 3])):
        places = _places(record)
        if not places:
            return nasty_value(random)
        *parents, leaf = random.choice(places)
        holder = record
        for key in parents:
            holder = holder[key]
        kind = random.randrange(8)
        if kind == 0:
            del holder[leaf]
        elif kind == 1 and isinstance(holder, dict):
            holder[nasty_text(random)] = nasty_value(random)
        elif kind == 2 and isinstance(holder, dict):
            holder[nasty_text(random)] = holder.pop(leaf)
        elif kind == 3 and isinstance(holder[leaf], (int, float)):
            holder[leaf] = random.choice(NASTY_NUMBERS)
        elif kind == 4 and isinstance(holder[leaf], str):
            holder[leaf] = nasty_text(random)
        else:
            holder[leaf] = nasty_value(random)
    return record


def damaged_json(content: bytes, random: Random) -> bytes:
    """JSON that is another record, or none."""
    if random.random() < 0.3:
        return damaged(content, random)
    text = json.dumps(changed_record(json.loads(content), random))
    return text.encode()


def damaged_lines(content: bytes, random: Random) -> bytes:
    """Lines of JSON with one that is damaged, repeated, missing or in another place."""
    kind = random.randrange(5)
    lines = content.splitlines(keepends=True)
    place = random.randrange(len(lines))
    if kind == 0:
        return damaged(content, random)
    if kind == 1:
        lines.insert(place, random.choice(lines))
    elif kind == 2:
        del lines[place]
    elif kind == 3:
        random.shuffle(lines)
    else:
        lines[place] = damaged_json(lines[place], random).replace(b"\n", b" ") + b"\n"
    return b"".join(lines)


# -- safetensors -----------------------------------------------------------------------------------


def damaged_tensors(content: bytes, random: Random) -> bytes:
    """A safetensors file with other values, another header, or a header that lies."""
    kind = random.randrange(4)
    size = struct.unpack("<Q", content[:8])[0]
    header, values = json.loads(content[8 : 8 + size]), content[8 + size :]
    if kind == 0:
        return damaged(content, random)
    if kind == 1:  # NaN, infinities and the like as values
        place = 4 * random.randrange(max(1, len(values) // 4))
        number = random.choice(NASTY_NUMBERS[7:])
        try:
            packed = struct.pack("<f", number)
        except OverflowError:
            packed = b"\xff\xff\x7f\x7f"
        values = values[:place] + packed + values[place + 4 :]
    elif kind == 2 and "state" in header.get("__metadata__", {}):
        state = damaged_json(header["__metadata__"]["state"].encode(), random)
        header["__metadata__"]["state"] = state.decode("utf-8", "replace")
    else:
        header = changed_record(header, random)
    packed_header = json.dumps(header).encode()
    length = random.choice([len(packed_header)] * 8 + [2**62, 0, len(packed_header) + 1000])
    return struct.pack("<Q", length) + packed_header + values

"""HotSpot's perf data, the shared memory that `jstat` reads: counters by name (format 2.0: perfMemory.hpp of the JDK).

A prologue of 32 bytes, then entries, each with a name and a value: a long, or bytes that are a string.
"""

from __future__ import annotations

import struct

from opsdoc.model import Malformed

MAGIC = b"\xca\xfe\xc0\xc0"  # the same bytes whatever the byte order
MAX_ENTRIES = 4096  # JDK 8 to 25 have 190 to 280
MAX_NAME = 512  # bytes
MAX_TEXT = 16384  # bytes: HotSpot cuts its strings at 1024

_PROLOGUE = "ibbbbiiqii"  # magic, byte order, major, minor, accessible, used, overflow, changed, first entry, entries
_ENTRY = "iiibbbbi"  # length, offset of the name, elements, type, flags, units, variability, offset of the data
_SCALAR, _LONG, _BYTES = 0, ord("J"), ord("B")


def parse(data: bytes) -> dict[str, int | str]:
    """All counters by name: a number, or a text without its NUL.

    Raises Malformed for what is not perf data of format 2, is truncated, or has offsets that lie.
    """
    if data[:4] != MAGIC:
        raise Malformed(f"not perf data of HotSpot: {data[:16]!r}")
    order = ">" if data[4:5] == b"\0" else "<"
    try:
        _, _, major, _, accessible, used, _, _, offset, count = struct.unpack_from(order + _PROLOGUE, data)
        if major != 2:
            raise Malformed(f"perf data of version {major}: only 2 is known")
        if not accessible:
            raise Malformed("the JVM is still setting its perf data up")
        if not (0 <= count <= MAX_ENTRIES and 32 <= offset <= used <= len(data)):
            raise Malformed(f"perf data of {len(data)} bytes claims {count} entries from {offset} to {used}")
        return _entries(memoryview(data)[:used].tobytes(), struct.Struct(order + _ENTRY), order, offset, count)
    except struct.error:
        raise Malformed(f"perf data ends early, after {len(data)} bytes") from None


def _entries(data: bytes, entry: struct.Struct, order: str, offset: int, count: int) -> dict[str, int | str]:
    counters: dict[str, int | str] = {}
    number = struct.Struct(order + "q")
    for _ in range(count):
        length, name_at, elements, kind, _, _, _, value_at = entry.unpack_from(data, offset)
        end = offset + length
        if not (entry.size < length and end <= len(data) and entry.size <= name_at < length and 0 < value_at < length):
            raise Malformed(f"entry at {offset} of the perf data reaches out of its bounds")
        name = data[offset + name_at : min(end, offset + name_at + MAX_NAME)].partition(b"\0")[0]
        if elements == _SCALAR and kind == _LONG:
            if value_at + number.size > length:
                raise Malformed(f"entry at {offset} of the perf data reaches out of its bounds")
            counters[_text(name)] = number.unpack_from(data, offset + value_at)[0]
        elif kind == _BYTES and 0 < elements <= MAX_TEXT:
            start = offset + value_at
            counters[_text(name)] = _text(data[start : min(end, start + elements)].partition(b"\0")[0])
        offset = end
    return counters


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

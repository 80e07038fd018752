"""A message as RocketMQ stores it and hands it out, byte for byte (MessageDecoder, MessageSysFlag).

It is read for people who ask what is in a dead-letter queue: of the body no more than its beginning is unpacked.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from opsdoc.model import Malformed

BODY_SHOWN = 4096  # bytes: who looks at a message needs its first lines

_MAGIC_1, _MAGIC_2 = -626843481, -626843477
_COMPRESSED, _BORN_6, _STORE_6 = 0x1, 0x10, 0x20  # bits of sysFlag
_COMPRESSIONS = {0: "zlib", 1: "lz4", 2: "zstd", 3: "zlib"}  # by bits 8 to 10 of sysFlag
_HEAD = struct.Struct(">iiIiiqqiq")  # size, magic, CRC, queue, flag, offset in queue, in log, sysFlag, born


class Message(NamedTuple):
    """One message. Times are in milliseconds since 1970, sizes in bytes.

    `body` is at most BODY_SHOWN bytes of it, unpacked, and None where it is packed in a way that Python cannot unpack;
    `body_size` is that of the body as it is stored; `compression` is `zlib`, `lz4`, `zstd` or None.
    """

    size: int
    topic: str
    queue: int
    queue_offset: int
    physical_offset: int
    born_at: int
    born_host: str
    stored_at: int
    store_host: str
    reconsumed: int
    prepared_offset: int
    sys_flag: int
    compression: str | None
    body_size: int
    body: bytes | None
    properties: Mapping[str, str]


def parse(data: bytes) -> Message:
    """The one message that the bytes are. Raises Malformed for anything else, or where a length lies."""
    try:
        size, magic, _, queue, _, queue_offset, physical_offset, sys_flag, born_at = _HEAD.unpack_from(data)
        if magic not in (_MAGIC_1, _MAGIC_2) or size != len(data):
            raise Malformed(f"not a message of RocketMQ: {len(data)} bytes that begin with {data[:16]!r}")
        rest = _Rest(data, _HEAD.size)
        born_host = rest.host(6 if sys_flag & _BORN_6 else 4)
        (stored_at,) = rest.numbers(">q")
        store_host = rest.host(6 if sys_flag & _STORE_6 else 4)
        reconsumed, prepared_offset, body_size = rest.numbers(">iqi")
        body = rest.taken(body_size)
        (topic_size,) = rest.numbers(">b" if magic == _MAGIC_1 else ">h")
        topic = rest.taken(topic_size)
        (properties_size,) = rest.numbers(">h")
        properties = rest.taken(properties_size)
    except struct.error:
        raise Malformed(f"a message that ends early: {len(data)} bytes that begin with {data[:16]!r}") from None
    compression = _COMPRESSIONS.get(sys_flag >> 8 & 7, "unknown") if sys_flag & _COMPRESSED else None
    return Message(
        size=size,
        topic=_text(topic),
        queue=queue,
        queue_offset=queue_offset,
        physical_offset=physical_offset,
        born_at=born_at,
        born_host=born_host,
        stored_at=stored_at,
        store_host=store_host,
        reconsumed=reconsumed,
        prepared_offset=prepared_offset,
        sys_flag=sys_flag,
        compression=compression,
        body_size=body_size,
        body=_unpacked(body, compression),
        properties=_properties(properties),
    )


class _Rest:
    """The bytes behind the head, read in order. Raises struct.error at their end and Malformed for a length below 0."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def numbers(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values

    def taken(self, size: int) -> bytes:
        if not 0 <= size <= len(self._data) - self._at:
            raise Malformed(f"a message of {len(self._data)} bytes in which something has {size} from {self._at} on")
        self._at += size
        return self._data[self._at - size : self._at]

    def host(self, version: int) -> str:
        """An address and a port, which takes four bytes."""
        address = ipaddress.ip_address(self.taken(16 if version == 6 else 4))
        (port,) = self.numbers(">i")
        return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _unpacked(body: bytes, compression: str | None) -> bytes | None:
    if compression is None:
        return body[:BODY_SHOWN]
    if compression != "zlib":
        return None
    try:
        return zlib.decompressobj().decompress(body, BODY_SHOWN)
    except zlib.error:
        return None


def _properties(raw: bytes) -> dict[str, str]:
    pairs = (pair.partition(b"\x01") for pair in raw.split(b"\x02"))
    return {_text(name): _text(value) for name, separator, value in pairs if separator}


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

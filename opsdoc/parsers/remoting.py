"""RocketMQ's remoting frames: requests and replies with JSON or binary headers, to bytes and back.

The format is that of RemotingCommand and RocketMQSerializable: the length of what follows, a word that holds the kind
and the length of the header, the header, the body; all numbers big-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from opsdoc.model import Malformed
from opsdoc.parsers import fastjson

PREFIX = 4  # bytes: the length of the rest
MAX_FRAME = 64 << 20  # bytes: a broker with 50,000 queues answers 7 MB
# Name servers write JSON that is JSON to a client that is at least this old (ClientRequestProcessor): 4.9.4.
VERSION = 401
RESPONSE = 1  # the bit of the flag that tells a reply from a request

_JSON, _BINARY = 0, 1
_PYTHON = 3  # LanguageCode
_WORD = struct.Struct(">I")
_HEAD = struct.Struct(">hbhii")  # code, language, version, opaque, flag
_SHORT, _INT = struct.Struct(">h"), struct.Struct(">i")
_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class Command(NamedTuple):
    """A request or a reply. `opaque` is the number that a reply has from its request; fields are always strings."""

    code: int
    opaque: int
    fields: Mapping[str, str] = _NO_FIELDS
    body: bytes = b""
    flag: int = 0
    version: int = VERSION
    remark: str | None = None

    @property
    def is_reply(self) -> bool:
        return bool(self.flag & RESPONSE)


def length(prefix: bytes) -> int:
    """How many bytes follow the four that a frame begins with. Raises Malformed where no frame begins so."""
    size = _WORD.unpack(prefix)[0] if len(prefix) == PREFIX else 0
    if not PREFIX <= size <= MAX_FRAME:
        raise Malformed(f"not a frame of RocketMQ: it begins with {prefix[:PREFIX]!r}, which claims {size} bytes")
    return int(size)


def encode(command: Command, *, binary: bool = False) -> bytes:
    """The whole frame, length included."""
    header = _binary_header(command) if binary else _json_header(command)
    word = (_BINARY if binary else _JSON) << 24 | len(header)
    size = PREFIX + len(header) + len(command.body)
    return b"".join([_WORD.pack(size), _WORD.pack(word), header, command.body])


def decode(frame: bytes) -> Command:
    """A frame without its length. Raises Malformed for a header that is none, or that lies about lengths."""
    if len(frame) < PREFIX:
        raise Malformed(f"a frame of {len(frame)} bytes has no header")
    word = _WORD.unpack_from(frame)[0]
    kind, end = word >> 24, PREFIX + (word & 0xFFFFFF)
    if end > len(frame):
        raise Malformed(f"a header of {end - PREFIX} bytes in a frame of {len(frame)}: {frame[:80]!r:.80}")
    header, body = frame[PREFIX:end], frame[end:]
    if kind == _JSON:
        return _from_json(header, body)
    if kind == _BINARY:
        return _from_binary(header, body)
    raise Malformed(f"a header of kind {kind}, where 0 is JSON and 1 is binary: {frame[:80]!r:.80}")


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────


def _json_header(command: Command) -> bytes:
    header: dict[str, Any] = {
        "code": command.code,
        "language": "PYTHON",
        "version": command.version,
        "opaque": command.opaque,
        "flag": command.flag,
        "extFields": dict(command.fields),
        "serializeTypeCurrentRPC": "JSON",
    }
    if command.remark is not None:
        header["remark"] = command.remark
    return json.dumps(header).encode()


def _from_json(header: bytes, body: bytes) -> Command:
    value = fastjson.parse(header)
    if not isinstance(value, dict):
        raise Malformed(f"a header that is not an object: {header[:80]!r:.80}")
    fields = value.get("extFields") or {}
    if not isinstance(fields, dict):
        raise Malformed(f"a header whose fields are none: {header[:80]!r:.80}")
    remark = value.get("remark")
    return Command(
        code=_whole_number(value, "code"),
        opaque=_whole_number(value, "opaque"),
        fields={key: _text(field) for key, field in fields.items() if field is not None},
        body=body,
        flag=_whole_number(value, "flag"),
        version=_whole_number(value, "version", 0),
        remark=None if remark is None else _text(remark),
    )


def _whole_number(header: dict[str, Any], name: str, default: int | None = None) -> int:
    value = header.get(name, default)
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise Malformed(f"a header whose {name} is {value!r:.40}")
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ── binary ───────────────────────────────────────────────────────────────────────────────────────


def _binary_header(command: Command) -> bytes:
    parts = [_HEAD.pack(command.code, _PYTHON, command.version, command.opaque, command.flag)]
    remark = (command.remark or "").encode()
    parts += [_INT.pack(len(remark)), remark]
    fields: list[bytes] = []
    for name, value in command.fields.items():
        key, text = name.encode(), value.encode()
        fields += [_SHORT.pack(len(key)), key, _INT.pack(len(text)), text]
    parts += [_INT.pack(sum(map(len, fields))), *fields]
    return b"".join(parts)


def _from_binary(header: bytes, body: bytes) -> Command:
    try:
        code, _, version, opaque, flag = _HEAD.unpack_from(header)
        remark, at = _taken(header, _HEAD.size, _INT)
        packed, _ = _taken(header, at, _INT)
        fields: dict[str, str] = {}
        at = 0
        while at < len(packed):
            name, at = _taken(packed, at, _SHORT)
            value, at = _taken(packed, at, _INT)
            fields[_decoded(name)] = _decoded(value)
    except (struct.error, ValueError):
        raise Malformed(f"a binary header that ends early: {header[:80]!r:.80}") from None
    return Command(code, opaque, fields, body, flag, version, _decoded(remark) if remark else None)


def _taken(data: bytes, at: int, size: struct.Struct) -> tuple[bytes, int]:
    """What stands at a place behind its own length, and where it ends."""
    start = at + size.size
    end = start + max(0, int(size.unpack_from(data, at)[0]))  # no text may have the length -1
    if end > len(data):
        raise ValueError("it reaches out of its bounds")
    return data[start:end], end


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")

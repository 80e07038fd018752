"""What of Redis's replies may be shown: keys as printable text, commands without their arguments.

A key can be any bytes, and the arguments of a command are other people's data.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from opsdoc.model import Malformed
from opsdoc.parsers.resp import Failure, Reply

KEY_CAP = 200  # characters
TEXT_CAP = 400  # of an error

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b"}
_COMMAND = re.compile(rb"[A-Za-z][\w.|-]{0,63}", re.ASCII)
_CUT = re.compile(rb"\.\.\. \(([0-9]{1,9}) more arguments\)")  # SLOWLOG keeps 32


class Slow(NamedTuple):
    """A call in the slow log, of whose arguments only the number is kept; `at` is Unix time."""

    id: int
    at: int
    seconds: float
    command: str
    arguments: int
    client: str | None  # its address; 4.0 and later


def key_name(key: bytes) -> str:
    """A key as redis-cli takes it between double quotes: printable characters, at most KEY_CAP of them and a mark."""
    name = "".join(map(_escaped, key[: 4 * KEY_CAP].decode("utf-8", "surrogateescape")))
    if len(name) <= KEY_CAP and len(key) <= 4 * KEY_CAP:
        return name
    return f"{name[:KEY_CAP]}…[{len(key)} bytes]"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def slow_log(reply: Reply) -> tuple[Slow, ...]:
    """SLOWLOG GET. Raises Malformed."""
    if not isinstance(reply, list):
        raise Malformed("not the answer to SLOWLOG GET")
    return tuple(_slow(entry) for entry in reply)


def _slow(entry: Reply) -> Slow:
    match entry:
        case [int(number), int(at), int(micro), [bytes(name), *arguments], *more]:
            cut = _CUT.fullmatch(arguments[-1]) if arguments and isinstance(arguments[-1], bytes) else None
            return Slow(
                id=number,
                at=at,
                seconds=micro / 1e6,
                command=name.decode().upper() if _COMMAND.fullmatch(name) else key_name(name)[:64],
                arguments=len(arguments) + (int(cut[1]) - 1 if cut else 0),
                client=key_name(more[0]) if more and isinstance(more[0], bytes) and more[0] else None,
            )
        case _:
            raise Malformed("an entry of the slow log has another form than those of Redis")  # it may hold secrets


def plain(reply: Reply) -> Any:
    """A reply as JSON types. Bytes that are no UTF-8 are escaped; an error within is its text."""
    if isinstance(reply, bytes):
        return reply.decode("utf-8", "backslashreplace")
    if isinstance(reply, Failure):
        return reply.text[:TEXT_CAP]
    if isinstance(reply, list):
        return [plain(item) for item in reply]
    return reply

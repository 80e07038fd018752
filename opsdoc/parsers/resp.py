"""Redis's protocol, RESP2: commands as bytes, and replies from bytes that come in any pieces.

The format is that of https://redis.io/docs/latest/develop/reference/protocol-spec. What a reply announces costs nothing
before it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Union

from opsdoc.model import Malformed

LINE_CAP = 64 << 10  # bytes: lines are numbers, states and errors
REPLY_CAP = 16 << 20  # bytes of one reply: the slots of a cluster of 1,000 nodes take less than one
ITEMS_CAP = 1 << 18  # of one reply, at all depths
DEPTH_CAP = 8  # CLUSTER SHARDS and SLOWLOG GET have four

_NUMBER = re.compile(rb"-?[0-9]{1,19}")


class Failure(NamedTuple):
    """A reply that tells of an error, such as `NOPERM this user has no permissions to run the 'info' command`."""

    text: str

    @property
    def code(self) -> str:
        """Its first word, which says what kind of error it is: `NOPERM`, `LOADING`, `ERR`."""
        return self.text.partition(" ")[0]


Reply = Union[bytes, int, None, Failure, list["Reply"]]  # noqa: UP007 - `|` takes no name in quotes


def command(words: Sequence[str | bytes]) -> bytes:
    """A command as it is sent. Each word is one argument, whatever stands in it."""
    raw = [word if isinstance(word, bytes) else word.encode("utf-8", "surrogateescape") for word in words]
    return b"".join([b"*%d\r\n" % len(raw), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)])


class Reader:
    """Reads replies from what `receive` gives: some bytes, or whatever it raises when there are no more."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._data = bytearray()
        self._at = 0  # what stands before has been read
        self._size = 0  # bytes of this reply so far
        self._items = 0

    def reply(self) -> Reply:
        """The next reply. Raises Malformed, after which this reader is of no more use."""
        self._size = self._items = 0
        return self._value(0)

    def _value(self, depth: int) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return Failure(rest.decode("utf-8", "backslashreplace"))
        if kind == b":":
            return _number(rest)
        if kind == b"$":
            return self._text(_number(rest))
        if kind == b"*":
            return self._list(_number(rest), depth)
        raise Malformed(f"not a reply of Redis: {line[:40]!r}")

    def _text(self, size: int) -> bytes | None:
        if size < 0:
            return None
        text = self._take(size)
        if self._take(2) != b"\r\n":
            raise Malformed("a text of a reply has no end where it should")
        return text

    def _list(self, length: int, depth: int) -> list[Reply] | None:
        if length < 0:
            return None
        self._items += length
        if self._items > ITEMS_CAP or depth >= DEPTH_CAP:
            raise Malformed(f"a reply has {self._items} items, {depth + 1} deep")
        return [self._value(depth + 1) for _ in range(length)]

    def _line(self) -> bytes:
        seen = self._at
        while (end := self._data.find(b"\r\n", seen)) < 0:
            if len(self._data) - self._at > LINE_CAP:
                raise Malformed(f"not a reply of Redis: {bytes(self._data[self._at : self._at + 40])!r}")
            seen = max(self._at, len(self._data) - 1)
            seen -= self._more()
        line = self._take(end - self._at)
        self._take(2)
        return line

    def _take(self, size: int) -> bytes:
        self._size += size
        if self._size > REPLY_CAP:
            raise Malformed("a reply is longer than 16 MiB")
        while len(self._data) - self._at < size:
            self._more()
        taken = bytes(self._data[self._at : self._at + size])
        self._at += size
        return taken

    def _more(self) -> int:
        """Receive; what was read is forgotten, and so many bytes it was."""
        forgotten = self._at
        del self._data[:forgotten]
        self._at = 0
        self._data += self._receive()
        return forgotten


def _number(digits: bytes) -> int:
    if _NUMBER.fullmatch(digits) is None:
        raise Malformed(f"not a number in a reply of Redis: {digits[:40]!r}")
    return int(digits)

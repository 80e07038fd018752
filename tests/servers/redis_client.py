"""A small client of Redis for tests, of its own, and loads: what applications ask of a cache, well and sick."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from servers.programs import wait_until

Word = str | bytes | int
BATCH = 500


class Refused(Exception):
    """An error reply."""


class Client:
    """One connection. Replies are bytes, numbers, lists, None or, when many are asked for, Refused."""

    def __init__(
        self, place: str | tuple[str, int], context: ssl.SSLContext | None = None, timeout: float = 10.0
    ) -> None:
        if isinstance(place, str):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(place)
        else:
            self._socket = socket.create_connection(place, timeout)
            if context is not None:
                self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._socket.settimeout(timeout)
        self._file = self._socket.makefile("rb")

    def do(self, *words: Word) -> Any:
        """The reply to a command; raises Refused."""
        (reply,) = self.do_many([words])
        if isinstance(reply, Refused):
            raise reply
        return reply

    def do_many(self, commands: Iterable[Sequence[Word]]) -> list[Any]:
        """The replies to commands that are sent in batches."""
        commands = list(commands)
        replies = []
        for start in range(0, len(commands), BATCH):
            batch = commands[start : start + BATCH]
            self._socket.sendall(b"".join(map(_packed, batch)))
            replies += [self._reply() for _ in batch]
        return replies

    def send(self, *words: Word) -> None:
        """A command whose reply is not waited for."""
        self._socket.sendall(_packed(words))

    def info(self) -> dict[str, str]:
        """INFO all, by field."""
        return dict(line.split(":", 1) for line in self.do("INFO", "all").decode().splitlines() if ":" in line)

    def number(self, field: str) -> int:
        return int(self.info()[field])

    def line(self) -> bytes:
        """A line as it comes, such as MONITOR sends them."""
        return self._file.readline()

    def wait(self, seconds: float) -> None:
        """How long to wait for a reply."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _reply(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"the server hung up: {line!r}")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return Refused(rest.decode())
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            return self._file.read(size + 2)[:-2]
        return [self._reply() for _ in range(size)]


def _packed(words: Sequence[Word]) -> bytes:
    raw = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)


# ── loads ────────────────────────────────────────────────────────────────────────────────────────

Step = Callable[[Any], object]  # of a client, also one of another cache


class Load:
    """A thread that repeats a step over a connection of its own."""

    def __init__(self, client: Any, step: Step) -> None:
        self.steps = 0
        self._client = client
        self._step = step
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._step(self._client)
                self.steps += 1
        except Exception as failure:  # noqa: BLE001 - told to the test below
            self._failure = failure

    def wait_steps(self, count: int, timeout: float = 30.0) -> None:
        """Return when so many more steps were done."""
        wanted = self.steps + count
        wait_until(lambda: self._failure or self.steps >= wanted, f"{count} steps of a load", timeout)
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._client.close()


@contextlib.contextmanager
def load(client: Any, step: Step) -> Iterator[Load]:
    """A load, once it has begun, until the block ends."""
    running = Load(client, step)
    try:
        running.wait_steps(1)
        yield running
    finally:
        running.stop()


def aside(keys: Sequence[Word], *, size: int = 100, ttl: int | None = None, fills: bool = True, seed: int = 7) -> Step:
    """An application that looks into the cache and fills what it missed: 100 keys a step, drawn from `keys`.

    `ttl` is in milliseconds. Without `fills` what is missed stays missed: the database does not have it either.
    """
    draw = random.Random(seed)
    value = b"v" * size
    expiry = () if ttl is None else ("PX", ttl)

    def step(client: Client) -> None:
        wanted = draw.choices(keys, k=100)
        found = client.do_many([("GET", key) for key in wanted])
        if fills:
            client.do_many(
                [("SET", key, value, *expiry) for key, seen in zip(wanted, found, strict=True) if seen is None]
            )

    return step


def names(count: int, prefix: str = "item") -> list[str]:
    return [f"{prefix}:{number}" for number in range(count)]


def fill(client: Client, keys: Iterable[Word], *, size: int = 100) -> None:
    """Set keys."""
    value = b"v" * size
    for reply in client.do_many([("SET", key, value) for key in keys]):
        assert reply == b"OK", reply


_POPULATE = """
for number = ARGV[1], ARGV[2] - 1 do
    redis.call('SET', 'item:' .. string.format('%d', number), string.rep('v', ARGV[3]))
    if ARGV[4] ~= '' then redis.call('PEXPIREAT', 'item:' .. string.format('%d', number), ARGV[4]) end
end"""


def populate(client: Client, count: int, *, size: int = 100, until: float | None = None) -> None:
    """The keys of `names(count)`, set by the server itself; with `until` (Unix time) all expire at that one moment."""
    expiry = "" if until is None else int(until * 1000)
    for start in range(0, count, 100_000):
        client.do("EVAL", _POPULATE, 0, start, min(count, start + 100_000), size, expiry)


def past(client: Client, hits: int, key: Word = "item:0") -> None:
    """A history of hits, so that the lifetime's hit rate is high."""
    client.do("SET", key, "v")
    client.do_many([("GET", key)] * hits)


def penetration() -> Step:
    """An application, or a scanner, that asks for keys that nobody has, each once."""
    numbers = itertools.count()

    def step(client: Client) -> None:
        client.do_many([("GET", f"nobody:{next(numbers)}") for _ in range(100)])

    return step


def hot(key: Word, others: Sequence[Word], share: float = 0.95, seed: int = 7) -> Step:
    """An application of which one key takes that share of all reads."""
    draw = random.Random(seed)

    def step(client: Client) -> None:
        client.do_many([("GET", key if draw.random() < share else draw.choice(others)) for _ in range(100)])

    return step


def mostly_missed(hits: int = 10, seed: int = 7) -> Step:
    """Of each 100 reads so many hit `item:0`; what is missed is filled, and never asked for again."""
    numbers = itertools.count(seed << 32)

    def step(client: Client) -> None:
        missed = [f"once:{next(numbers)}" for _ in range(100 - hits)]
        client.do_many([("GET", "item:0")] * hits + [("GET", key) for key in missed])
        client.do_many([("SET", key, "v", "PX", 1000) for key in missed])

    return step


BUSY = ("EVAL", "local i = 0 while i < tonumber(ARGV[1]) do i = i + 1 end return i", 0)  # and how often: it is slow

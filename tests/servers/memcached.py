"""Real memcached servers on loopback, and a small client of their text protocol."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from servers.programs import Program, lacking, wait_until
from servers.redis import below_a_shell, certificates, free_ports, refuse_dead
from servers.redis_client import Load, Step, load


class Client:
    """One connection."""

    def __init__(self, place: str | tuple[str, int]) -> None:
        if isinstance(place, str):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(place)
        else:
            self._socket = socket.create_connection(place, 10)
        self._socket.settimeout(10)
        self._file = self._socket.makefile("rb")

    def stats(self, group: str = "") -> dict[str, str]:
        self._socket.sendall(f"stats {group}".strip().encode() + b"\r\n")
        found = {}
        while (line := self._line()) != b"END":
            _, name, *value = line.decode().split(" ", 2)
            found[name] = value[0] if value else ""
        return found

    def number(self, name: str) -> int:
        return int(self.stats()[name])

    def set_many(self, keys: Iterable[str], *, size: int = 100, ttl: int = 0) -> None:
        value = b"v" * size
        for batch in _batches(keys):
            self._socket.sendall(
                b"".join(b"set %b 0 %d %d\r\n%b\r\n" % (key.encode(), ttl, size, value) for key in batch)
            )
            for _ in batch:
                answer = self._line()
                assert answer == b"STORED", answer

    def get_many(self, keys: Iterable[str]) -> int:
        """How many of the keys were there."""
        found = 0
        for batch in _batches(keys):
            self._socket.sendall(b"".join(b"get %b\r\n" % key.encode() for key in batch))
            for _ in batch:
                while (line := self._line()) != b"END":
                    assert line.startswith(b"VALUE "), line
                    found += 1
                    self._file.read(int(line.split()[3]) + 2)
        return found

    def wait(self, seconds: float) -> None:
        """How long to wait for an answer."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"the server hung up: {line!r}")
        return line[:-2]


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    """As many keys as are sent at once."""
    left = iter(keys)
    while batch := list(itertools.islice(left, 100)):
        yield batch


class Memcached:
    """A running server; `memory` is in MiB. Words go to its command line as they are.

    `mode` is `plain`, `tls`, `unix`, or `shut`: one that says nothing to those who do not log in.
    """

    def __init__(self, *words: str, memory: int = 64, mode: str = "plain") -> None:
        if shutil.which("memcached") is None:
            lacking("memcached is not installed")
        self.port = free_ports(1)[0]
        self.mode = mode
        self.folder = Path(tempfile.mkdtemp(prefix="opsdoc-memcached-"))
        self.folder.chmod(0o777)  # it runs as nobody
        self.socket = self.folder / "memcached.sock"
        where = ["-s", str(self.socket)] if mode == "unix" else ["-l", "127.0.0.1", "-p", str(self.port)]
        if mode == "tls":
            files = certificates()
            where += ["-Z", "-o", f"ssl_chain_cert={files / 'cert.pem'},ssl_key={files / 'key.pem'}"]
        self._program: Program = below_a_shell(
            ["memcached", "-u", "nobody", "-m", str(memory), *where, *words], self.folder
        )
        try:
            wait_until(self._answers, "memcached to answer")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        refuse_dead(self._program, self.folder)
        with contextlib.suppress(OSError):
            if self.mode != "plain":
                place = str(self.socket) if self.mode == "unix" else ("127.0.0.1", self.port)
                with socket.socket(socket.AF_UNIX if self.mode == "unix" else socket.AF_INET) as one:
                    one.connect(place)
                return True
            with contextlib.closing(self.client()) as client:
                client.stats()
            return True
        return False

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def address(self) -> str:
        return f"unix:{self.socket}" if self.mode == "unix" else f"127.0.0.1:{self.port}"

    def client(self) -> Client:
        return Client(str(self.socket) if self.mode == "unix" else ("127.0.0.1", self.port))

    def load(self, step: Step) -> contextlib.AbstractContextManager[Load]:
        return load(self.client(), step)

    def frozen(self) -> contextlib.AbstractContextManager[Program]:
        """As SIGSTOP leaves it: the kernel still accepts connections."""
        return self._program.stopped()

    def stop(self) -> None:
        self._program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def server(*words: str, memory: int = 64, mode: str = "plain") -> Iterator[Memcached]:
    """One server, as `Memcached` takes options."""
    made = Memcached(*words, memory=memory, mode=mode)
    try:
        yield made
    finally:
        made.stop()


def evict(client: Client, keys: list[str]) -> None:
    """Fill one slab class with items of 1 kB beyond what `memory=4` holds; most go before they were ever read."""
    client.set_many(keys, size=1000)
    client.get_many(keys[-300:])
    client.get_many(keys[:300])

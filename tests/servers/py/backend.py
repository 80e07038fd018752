"""`backend.py FOLDER`: web servers behind a proxy, each with a fault of its own that can be changed while it runs.

Commands, one a line: `start NAME [unix | tls | IPV4]… MODE`, answered with its address; `mode NAME MODE`; `counts
NAME`, answered with the connections and requests so far; `end NAME`. Modes are said in `Backend` and `Conversation`.
TLS takes cert.pem and key.pem from FOLDER; unix sockets stand in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import ssl
import struct
import sys
import time
from pathlib import Path

from stage import LIFETIME, say

FOLDER = Path(sys.argv[1])
BODY = b"a short answer\n"
SYN_SENT = 2  # of TCP_INFO
CLIENT_HELLO = b"\x16"  # what TLS begins with; to a server that does not speak it, it is a bad request
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MODE = re.compile(r"ok|slow\d+|err\d{3}|premature|reset|hang|cut|once|bigheader|garbage")
WRAPPED = re.compile(rf"(flap|every)([\d.]+)/({MODE.pattern})")
AWAY = ("nolisten", "full", "missing")


def answer(status: bytes, headers: bytes = b"", body: bytes = BODY) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status + b" As Asked\r\nContent-Type: text/plain\r\n" + length + headers + b"\r\n" + body


CLOSE = b"Connection: close\r\n"
OK, OK_AND_CLOSE = answer(b"200"), answer(b"200", CLOSE)


class Conversation(asyncio.Protocol):
    """One connection. What it does with a request is said by the backend's mode at that moment.

    ok; slowN (ms later); errN (that status); premature (closes without an answer); reset (the same by RST); hang (no
    answer ever); cut (closes amid the body); once (closes at the second request of a connection); bigheader; garbage
    (no HTTP); flapS/MODE (that mode for half of every S seconds, else ok); everyN/MODE (that mode for one request in
    N, else ok).
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.got = b""
        self.answered = False

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.backend.open.add(transport)
        self.backend.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.backend.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.got.startswith(CLIENT_HELLO):
            self.got = b""
            self.act(answer(b"400", CLOSE))
        while (end := self.got.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self.got, 0, end)
            end += 4 + (int(length[1]) if length else 0)
            if len(self.got) < end:
                return
            asked, self.got = self.got[:end], self.got[end:]
            leaves = b" HTTP/1.0\r\n" in asked or b"\r\nConnection: close\r\n" in asked
            self.act(OK_AND_CLOSE if leaves else OK, leaves=leaves)

    def act(self, good: bytes, *, leaves: bool = False) -> None:
        mode = self.backend.behaviour()
        word, number = re.fullmatch(r"([a-z]+)(\d*)", mode).groups()
        if word == "ok":
            self.send(good, leaves)
        elif word == "slow":
            asyncio.get_running_loop().call_later(int(number) / 1000, self.send, good, leaves)
        elif word == "err":
            self.send(answer(number.encode(), CLOSE if leaves else b""), leaves)
        elif word == "once" and not self.answered:
            self.send(good, leaves)
        elif word in ("once", "premature"):
            self.transport.close()
        elif word == "reset":
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()
        elif word == "cut":
            self.send(answer(b"200", body=b"x" * 1000)[:-990], leaves=True)
        elif word == "bigheader":
            self.send(answer(b"200", b"X-Filler: " + b"x" * 65536 + b"\r\n"), leaves)
        elif word == "garbage":
            self.send(b"\x00\x01\x02 no protocol of this world\r\n\r\n", leaves=True)

    def send(self, data: bytes, leaves: bool) -> None:
        if not self.transport.is_closing():
            self.answered = True
            self.transport.write(data)
            if leaves:
                self.transport.close()


class Backend:
    """A server: an address that stays, and how it stands there.

    Three modes say that it does not answer connections at all: nolisten (its port is reserved and refuses), full (its
    accept queue is full, so that connecting gets no answer) and missing (a unix socket that is not there).
    """

    def __init__(self, name: str, *places: str) -> None:
        self.tls = "tls" in places
        hosts = [place for place in places if place not in ("tls", "unix")]
        self.where: str | tuple[str, int] = (hosts[0] if hosts else "127.0.0.1", 0)
        if "unix" in places:
            self.where = str(FOLDER / f"{name}.sock")
        self.socket: socket.socket | None = None
        self.server: asyncio.Server | None = None
        self.fillers: list[socket.socket] = []
        self.open: set[asyncio.Transport] = set()
        self.connections = self.requests = 0
        self.mode = self.stands = ""

    @property
    def address(self) -> str:
        return f"unix:{self.where}" if isinstance(self.where, str) else "{}:{}".format(*self.where)

    def behaviour(self) -> str:
        self.requests += 1
        wrapped = WRAPPED.fullmatch(self.mode)
        if wrapped is None:
            return self.mode
        how, number, mode = wrapped.groups()
        bad = time.time() % float(number) < float(number) / 2 if how == "flap" else self.requests % int(number) == 0
        return mode if bad else "ok"

    async def become(self, mode: str) -> None:
        if mode not in AWAY and not (MODE.fullmatch(mode) or WRAPPED.fullmatch(mode)):
            raise ValueError(f"no mode {mode}")
        stands = mode if mode in AWAY else "listens"
        if stands != self.stands:
            self.leave()
            if stands != "missing":
                self.bind()
            if stands == "listens":
                await self.listen()
            elif stands == "full":
                self.fill()
        self.mode, self.stands = mode, stands

    def leave(self) -> None:
        """Go as a killed program does."""
        if self.server is not None:
            self.server.close()
        for transport in list(self.open):
            transport.abort()
        for held in (*self.fillers, self.socket):
            if held is not None:
                held.close()
        self.server, self.socket, self.fillers = None, None, []
        if isinstance(self.where, str):
            Path(self.where).unlink(missing_ok=True)

    def bind(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(self.where, str) else socket.AF_INET)
        self.socket.setblocking(False)
        if isinstance(self.where, str):
            self.socket.bind(self.where)
            Path(self.where).chmod(0o777)
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.where)
            self.where = self.socket.getsockname()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if isinstance(self.where, str) else loop.create_server
        context = None
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(FOLDER / "cert.pem", FOLDER / "key.pem")
        self.server = await make(lambda: Conversation(self), sock=self.socket, backlog=1024, ssl=context)

    def fill(self) -> None:
        """Connect until the kernel answers no more."""
        self.socket.listen(0)
        for _ in range(8):
            filler = socket.socket(self.socket.family)
            filler.setblocking(False)
            self.fillers.append(filler)
            refused = filler.connect_ex(self.where)
            if isinstance(self.where, str):
                if refused:  # EAGAIN, at once: a unix socket makes nobody wait who does not want to
                    return
            elif filler.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == SYN_SENT:
                return
        raise OSError("the accept queue cannot be filled")


async def main() -> None:
    signal.alarm(LIFETIME)
    backends: dict[str, Backend] = {}
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say(ready=True)
    while line := (await commands.readline()).decode():
        word, name, *rest = line.split()
        facts = {}
        if word == "start":
            backends[name] = Backend(name, *rest[:-1])
            await backends[name].become(rest[-1])
            facts = {"address": backends[name].address}
        elif word == "mode":
            await backends[name].become(rest[0])
        elif word == "counts":
            facts = {"connections": backends[name].connections, "requests": backends[name].requests}
        elif word == "end":
            backends.pop(name).leave()
        say(did=line.strip(), **facts)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())

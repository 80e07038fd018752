"""The stacks of a JVM's virtual threads, which Java 21 writes to a file only: read from a pipe that stands for one.

`jcmd Thread.dump_to_file` stops nobody as a whole, but the JVM writes as much as it has threads, 1.8 kB for each of
26 frames. So it gets a pipe, in a folder of its own below its /tmp. Measured on 21 and 25:

- to open a pipe that nobody reads from blocks the JVM's one attach thread for ever. The pipe is opened for reading
  before it is asked for; where the JVM sees our /proc, its way there leads through the entry of our thread, so that
  there is no way any more when we are killed; when we give up, the folder is gone, so that a JVM that opens it late
  finds nothing, instead of making a file.
- a Java 21 whose reader hangs up goes on, and each line costs it 50 µs: 20 s for 20 000 threads, which take 1.3 s when
  they are read. So it is read to its end, even what is too much to keep, as long as there is time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import stat
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from opsdoc.clients import Live, jvm
from opsdoc.clients.below import below
from opsdoc.clients.hotspot import REPLY_TIMEOUT, body, connected, request
from opsdoc.clients.jvm import Jvm
from opsdoc.model import Interrupted, Malformed, TimedOut, Unreachable, Unsupported
from opsdoc.redact import Redactor

KEPT = 64 << 20  # bytes
LEAST_TIME = 2.0  # seconds that must be left to begin: to stop in the middle harms more than not to begin
SUM_UP = 0.5  # seconds before the deadline at which it ends all the same
REPLY_CAP = 4096
COMMAND = "Thread.dump_to_file -format=json"
PIPE = "threads"
TMP = "/tmp"  # noqa: S108 - where HotSpot has its attach socket, whatever TMPDIR says


class VirtualThreads(NamedTuple):
    """The JVM's JSON dump of all its threads, virtual ones included, cut after 64 MiB; needs an open attach socket.

    `started` (ticks after boot) proves that it is the same process. Raises Unsupported before Java 21 and where nothing
    may be made on the target.
    """

    pid: int
    started: int

    def key(self) -> str:
        return f"hotspot.virtual-threads {self.pid}"

    def answer(self, live: Live) -> bytes:
        if not live.may_write_target_files:
            raise Unsupported("--no-target-files forbids the pipe through which the JVM tells of its virtual threads")
        if live.remaining() < LEAST_TIME:
            raise TimedOut("too little time was left to ask the JVM for its virtual threads")
        target = jvm.find(self.pid, self.started, live)
        try:
            with below(target.folder, "root/tmp", live) as tmp:
                _refuse_unless_able(target, tmp, live)
                with _pipe(target, tmp, live) as (pipe, path), connected(target, tmp) as connection:
                    connection.sendall(request("jcmd", f"{COMMAND} -overwrite {_way(target)}{path}"))
                    return _read(pipe, connection, live)
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unreachable(f"process {self.pid} no longer listens on its attach socket") from None
        except TimeoutError:
            raise TimedOut("the JVM did not say in time whether it tells of its virtual threads") from None
        except OSError as error:
            raise Unreachable(f"the JVM broke off: {error.strerror}") from None

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)


def _refuse_unless_able(target: Jvm, tmp: int, live: Live) -> None:
    """Raise Unsupported unless the JVM knows the command: it is asked to write where something is, which it refuses.

    It loads what it needs for it, so that it opens the pipe 1 ms and not 130 ms after it was asked to.
    """
    ends = time.monotonic() + min(REPLY_TIMEOUT, live.remaining())
    reply = b""
    with connected(target, tmp) as connection:
        connection.sendall(request("jcmd", f"{COMMAND} {TMP}"))
        while len(reply) < REPLY_CAP:
            connection.settimeout(max(0.001, ends - time.monotonic()))
            chunk = connection.recv(REPLY_CAP)
            if not chunk:
                break
            reply += chunk
    try:
        told = body(reply, target, live)
    except Malformed as error:
        raise Unsupported(f"the JVM does not tell of its virtual threads: {error.detail}") from None
    if b"exists" not in told:
        raise Unsupported(f"the JVM does not tell of its virtual threads: {told[:80]!r}")


@contextlib.contextmanager
def _pipe(target: Jvm, tmp: int, live: Live) -> Iterator[tuple[int, str]]:
    """A pipe in a folder below the JVM's /tmp, both its user's alone: our end, open, and its path as the JVM knows it.

    The folder is removed in every case, and before our end is closed.
    """
    name = f".opsdoc_{target.status.ids[-1]}_{secrets.token_hex(8)}"
    shown = f"/proc/{target.pid}/root/tmp/{name}"
    ends: list[int] = []
    try:
        live.announce(f"creates {shown} for a moment: a pipe through which the JVM tells of its virtual threads")
        os.mkdir(name, 0o700, dir_fd=tmp)
        live.target_files.append(shown)
        with live.undone_by(lambda: _remove(name, tmp, ends[:1])):
            ends.append(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=tmp))
            os.mkfifo(PIPE, 0o600, dir_fd=ends[0])
            ends.append(os.open(PIPE, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=ends[0]))
            if os.fstat(ends[0]).st_uid != os.geteuid() or not stat.S_ISFIFO(os.fstat(ends[1]).st_mode):
                raise Unsupported(f"process {target.pid}: somebody replaced the pipe in {shown}")
            if os.geteuid() == 0:
                for end in reversed(ends):  # the pipe before the folder, in which its owner can replace it
                    os.fchown(end, target.status.euid, target.status.egid)
            yield ends[1], f"{TMP}/{name}/{PIPE}"
    finally:
        for end in ends:
            os.close(end)


def _remove(name: str, tmp: int, folder: list[int]) -> None:
    with contextlib.suppress(OSError):
        for descriptor in folder:
            os.unlink(PIPE, dir_fd=descriptor)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=tmp)


def _way(target: Jvm) -> str:
    """What leads to the JVM's own root as long as we live, where it sees us; nothing where it has another /proc.

    The entry of a thread goes with it, while that of a killed process stays until somebody asks how it ended.
    """
    entry = f"{os.getpid()}/task/{threading.get_native_id()}"
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(f"/proc/{entry}"), os.stat(target.folder / "root/proc" / entry)):
            return f"/proc/{entry}/../../../.."
    return ""


def _read(pipe: int, connection: socket.socket, live: Live) -> bytes:
    """What the JVM writes until it closes the pipe; of more than 64 MiB the beginning."""
    data = bytearray()
    reply = b""
    poll = select.poll()
    for source in (pipe, connection.fileno()):
        poll.register(source, select.POLLIN)
    while True:
        left = live.remaining() if live.stopping.is_set() else live.remaining() - SUM_UP
        if left <= 0:
            raise TimedOut("the JVM has too many virtual threads: it did not tell of all in time")
        ready = [source for source, _ in poll.poll(min(left, 0.1) * 1000)]
        if pipe in ready:
            with contextlib.suppress(BlockingIOError):
                chunk = os.read(pipe, 1 << 18)
                if not chunk:
                    break
                data += chunk[: KEPT - len(data)]
        elif ready:  # nothing is in the pipe, and nobody has opened and closed it
            chunk = connection.recv(REPLY_CAP)
            if not chunk:
                raise Unsupported(f"the JVM does not tell of its virtual threads: {reply[:200]!r}")
            reply = (reply + chunk)[:REPLY_CAP]
    if live.stopping.is_set():
        raise Interrupted("the run was interrupted")
    return bytes(data)

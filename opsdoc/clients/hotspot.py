"""HotSpot's dynamic attach over its socket: a thread dump without a JDK, and no signal unless proven harmless.

The protocol and its dangers are those of HotSpot's attachListener_posix.cpp and VirtualMachineImpl.java.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import pwd
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from opsdoc.clients import Live, jvm
from opsdoc.clients.below import below
from opsdoc.clients.jvm import Jvm
from opsdoc.clients.proc import gone
from opsdoc.model import Denied, Interrupted, Malformed, TimedOut, Unreachable, Unsupported
from opsdoc.redact import Redactor

HANDSHAKE = 10.0  # seconds until the socket must be there after the signal: 5 to 220 ms, but a full GC holds it up
LAST_MOMENT = 0.4  # seconds that a JVM that was signalled has to find the marker when the run is stopped
REPLY_TIMEOUT = 8.0  # seconds: a dump of a JVM with Serial GC and a counted loop took 3 s
REPLY_CAP = 64 << 20


class OpenSocket(NamedTuple):
    """Make sure that the attach socket of a JVM is there; `started` (ticks after boot) proves that it is the same one.

    A missing socket is asked for as jstack does, with a marker file and SIGQUIT, but only when every check proves
    that the JVM handles the signal. The answer is how the socket came to be: `was open` or `signalled`.
    """

    pid: int
    started: int

    def key(self) -> str:
        return f"hotspot.open {self.pid}"

    def answer(self, live: Live) -> str:
        target = jvm.find(self.pid, self.started, live)
        jvm.refuse_unless_hotspot(target, live)
        with below(target.folder, "root/tmp", live) as tmp:
            if _answers(target, tmp):
                return "was open"
            jvm.refuse_unless_safe(target, live)
            _ask_for_socket(target, tmp, live)
        return "signalled"


class ThreadDump(NamedTuple):
    """The text of a thread dump; the JVM stands still for at most the time that the answer takes.

    The ownable synchronizers that `jstack -l` adds are not asked for: they cost a walk through the heap.
    """

    pid: int
    started: int

    def key(self) -> str:
        return f"hotspot.dump {self.pid}"

    def answer(self, live: Live) -> bytes:
        target = jvm.find(self.pid, self.started, live)
        began = time.monotonic()
        try:
            with (
                below(target.folder, "root/tmp", live) as tmp,
                connected(target, tmp) as connection,
                live.undone_by(lambda: hang_up(connection)),
            ):
                reply = _exchange(connection, live)
            if live.stopping.is_set():  # then it was we who hung up
                raise Interrupted("the thread dump was given up with the run")
        except (FileNotFoundError, ConnectionRefusedError):
            raise Unreachable(f"process {self.pid} no longer listens on its attach socket") from None
        live.pause(self.pid, round(time.monotonic() - began, 4), "thread dump: until the reply ended, an upper bound")
        return body(reply, target, live)

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)


@contextlib.contextmanager
def connected(target: Jvm, tmp: int) -> Iterator[socket.socket]:
    """A connection to the JVM's socket, proven to be the JVM's: a socket of its owner, with its pid at the other end.

    The file is opened first and dialled through the descriptor, so that nobody can put a symlink in its place.
    Raises FileNotFoundError or ConnectionRefusedError when there is no living socket.
    """
    file = os.open(target.socket_name, os.O_PATH | os.O_NOFOLLOW, dir_fd=tmp)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        seen = os.fstat(file)
        if not stat.S_ISSOCK(seen.st_mode) or seen.st_uid != target.status.euid:
            raise _not_its_own(target)
        connection.settimeout(1.0)
        connection.connect(f"/proc/self/fd/{file}")
        peer, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer != target.pid:
            raise Unsupported(f"process {target.pid}: process {peer} listens at {target.socket_name}")
        yield connection
    except (TimeoutError, BlockingIOError):  # the latter when the queue of those who wait is full
        raise TimedOut(f"process {target.pid} does not accept connections on its attach socket") from None
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:  # it is one for datagrams
            raise _not_its_own(target) from None
        raise
    finally:
        os.close(file)
        connection.close()


def _not_its_own(target: Jvm) -> Unsupported:
    return Unsupported(f"process {target.pid}: {target.socket_name} is not the JVM's own socket")


def _answers(target: Jvm, tmp: int) -> bool:
    try:
        with connected(target, tmp):
            return True
    except (FileNotFoundError, ConnectionRefusedError):
        return False


def hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def request(operation: str, argument: str = "") -> bytes:
    """A request of protocol version 1, which always has three arguments."""
    return f"1\0{operation}\0{argument}\0\0\0".encode()


def _exchange(connection: socket.socket, live: Live) -> bytes:
    """Ask for a thread dump and read the whole reply."""
    ends = time.monotonic() + min(REPLY_TIMEOUT, live.remaining())
    chunks: list[bytes] = []
    size = 0
    try:
        connection.sendall(request("threaddump"))
        while True:
            connection.settimeout(max(0.001, ends - time.monotonic()))
            chunk = connection.recv(1 << 18)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
            if size > REPLY_CAP:
                raise Malformed("the reply of the JVM is longer than 64 MiB")
            if time.monotonic() > ends:
                raise TimeoutError
    except TimeoutError:
        raise TimedOut("the JVM did not finish its thread dump in time") from None
    except OSError as error:
        raise Unreachable(f"the JVM broke off its reply: {error.strerror}") from None


def body(reply: bytes, target: Jvm, live: Live) -> bytes:
    """What a reply says, if it says that the operation was done."""
    code, newline, text = reply.partition(b"\n")
    if not reply:
        raise Denied(
            "the JVM closed the connection: it accepts its own user only (JDK 8), or is ending",
            _as_its_user(target, live),
        )
    if code.strip() != b"0" or not newline:
        raise Malformed(f"the JVM answered {reply[:80]!r}")
    return text


def _as_its_user(target: Jvm, live: Live) -> str:
    """The hint for a JVM that takes requests of its own user only: this command line as that user, if it is not us."""
    euid = target.status.euid
    if os.geteuid() != 0 or euid == 0:
        return ""
    try:
        user = pwd.getpwuid(euid).pw_name
    except KeyError:
        user = f"'#{euid}'"
    return f"sudo -u {user} {live.again}"


def _ask_for_socket(target: Jvm, tmp: int, live: Live) -> None:
    """Marker file, SIGQUIT, and wait for the socket. The marker is removed in every case."""
    try:
        pidfd = os.pidfd_open(target.pid)
    except ProcessLookupError:
        raise gone(target.pid) from None
    try:
        # From here on a reused pid cannot be hit: the descriptor names the process whose start time is checked again.
        jvm.refuse_unless_hotspot(jvm.find(target.pid, target.stat.started, live), live)
        signalled = threading.Event()
        with _marker(target, tmp, live, signalled):
            with live.unless_stopped():  # else the marker might be removed before the signal is sent
                signalled.set()
                signal.pidfd_send_signal(pidfd, signal.SIGQUIT)
            ends = time.monotonic() + max(0.0, min(HANDSHAKE, live.remaining() - 1))
            pause = 0.005
            while not _answers(target, tmp):
                if time.monotonic() > ends:
                    raise TimedOut(f"process {target.pid} did not open its attach socket within {HANDSHAKE:.0f} s")
                live.wait(pause)
                pause = min(0.1, pause * 1.5)
    except ProcessLookupError:
        raise gone(target.pid) from None
    finally:
        os.close(pidfd)


@contextlib.contextmanager
def _marker(target: Jvm, tmp: int, live: Live, signalled: threading.Event) -> Iterator[None]:
    """The file that tells the JVM that SIGQUIT means attach: in its working directory, else in its /tmp."""
    with contextlib.ExitStack() as stack:
        folders = [(f"/proc/{target.pid}/root/tmp", tmp)]
        with contextlib.suppress(Unsupported, Denied):
            folders.insert(0, (f"/proc/{target.pid}/cwd", stack.enter_context(below(target.folder, "cwd", live))))
        for path, folder in folders:
            try:
                file = os.open(
                    target.marker_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o660, dir_fd=folder
                )
            except FileExistsError:
                raise Unsupported(
                    f"process {target.pid}: another tool is attaching at this moment; try again"
                ) from None
            except OSError:
                continue
            name = f"{path}/{target.marker_name}"
            live.announce(f"creates {name} for a moment: with it the JVM takes SIGQUIT as a request to attach")
            live.target_files.append(name)
            kept = os.dup(folder), os.dup(tmp)  # the marker may have to outlive this call
            to_leave = name if _has_listened(target) else ""
            retire = functools.partial(_retire, target, *kept, live, signalled, to_leave)
            with live.undone_at_last(retire):
                if _owned(file, target):
                    yield
                    return
        raise Denied(f"no marker file can be made for process {target.pid}", live.as_root())


def _owned(file: int, target: Jvm) -> bool:
    """Give the marker to the JVM's user and say whether the JVM will accept its owner."""
    try:
        if os.geteuid() == 0:
            os.fchown(file, target.status.euid, target.status.egid)
        return os.fstat(file).st_uid == target.status.euid
    except OSError:
        return False
    finally:
        os.close(file)


def _has_listened(target: Jvm) -> bool:
    """Whether the JVM has had an attach socket, which was deleted: its listener is still there."""
    for name in (target.folder / "task").glob("*/comm"):
        with contextlib.suppress(OSError):
            if name.read_bytes() == b"Attach Listener\n":
                return True
    return False


def _retire(target: Jvm, folder: int, tmp: int, live: Live, signalled: threading.Event, to_leave: str) -> None:
    """Remove the marker. A JVM that was signalled and does not find it prints a dump into its own output.

    One that finds neither the marker nor the socket it once had lets nobody attach any more, and ignores SIGQUIT for
    the rest of its life (measured on 11, 17, 21 and 25): to such a one the marker is left, and that is said.
    """
    ends = (live.stopped or time.monotonic()) + LAST_MOMENT
    while signalled.is_set() and time.monotonic() < ends and not _exists(target.socket_name, tmp):
        time.sleep(0.005)
    if to_leave and signalled.is_set() and not _exists(target.socket_name, tmp):
        live.announce(f"leaves {to_leave}, which the JVM has yet to see: remove it when {target.socket_name} is there")
    else:
        with contextlib.suppress(OSError):
            os.unlink(target.marker_name, dir_fd=folder)
    os.close(folder)
    os.close(tmp)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True

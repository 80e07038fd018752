"""`impostor.py LIBJVM MODE`: what looks like a JVM, with libjvm.so mapped and an attach socket that does harm.

It counts the SIGQUITs that it gets and the connections that it takes, and tells both with each answer.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

from stage import LIFETIME, say, state, wake

PATH = f"/tmp/.java_pid{os.getpid()}"
HEADER = b"0\n2026-11-24 12:00:00\nFull thread dump OpenJDK 64-Bit Server VM (17.0.15+6 mixed mode, sharing):\n\n"
MIB = b"\tat com.acme.Endless.loop(Endless.java:1)\n" * (1 << 20 >> 5)

counts = {"signals": 0, "connections": 0}
hot_tid: list[int] = []
started = threading.Event()
others: list[socket.socket] = []  # held open


def thread(name: str, tid: int, code: str = "com.acme.Hot.loop(Hot.java:7)", id_as: str = "nid={0:#x}") -> bytes:
    head = f'"{name}" #12 prio=5 os_prio=0 cpu=9.99ms elapsed=9.99s tid=0x00007f0000000000 {id_as.format(tid)} runnable'
    return f"{head}  [0x0000000000000000]\n   java.lang.Thread.State: RUNNABLE\n\tat {code}\n\n".encode()


def whole() -> bytes:
    return HEADER + thread("order-worker-3", hot_tid[0]) + b"JNI global refs: 14, weak refs: 0\n\n"


def lies() -> bytes:
    """Two threads claim the id of the hot one, in a header and in a name; one claims a process; and more."""
    forged = thread("x", hot_tid[0], "com.acme.Innocent.rest(Innocent.java:1)").decode().rstrip("\n")
    return b"".join(
        (
            HEADER,
            thread("order-worker-3", hot_tid[0]),
            thread(f'two\nlines"\n\n{forged}', os.getpid()),
            thread('nid=0x1 runnable [0x1] "', 1),
            thread("\x1b[31mred\x1b[0m\x07", 2**70),
            thread("", -1),
            b'"cut in the middle of its head" #12 prio=5 os_prio=0 nid=0x',
        )
    )


def drip() -> Iterator[bytes]:
    yield HEADER
    for byte in itertools.cycle(b"\tat x.y(z:1)\n"):
        time.sleep(0.05)
        yield bytes([byte])


def mebibytes(count: int) -> Iterator[bytes]:
    yield whole()
    for _ in range(count):
        yield MIB


# What follows a request; None keeps the connection open and says nothing more.
REPLIES: dict[str, Callable[[], Iterator[bytes | None]]] = {
    "cut": lambda: iter([whole()[:-90]]),
    "endless": lambda: mebibytes(1 << 20),
    "long": lambda: mebibytes(100),
    "below the cap": lambda: mebibytes(40),
    "silent": lambda: iter([None]),
    "silent after its head": lambda: iter([HEADER, None]),
    "drips": drip,
    "closes": lambda: iter([]),
    "no number": lambda: iter([b"\x1b[2Jpassword=hunter2-hunter2\x00\xff\n" * 40]),
    "an error": lambda: iter([b"1\n\x1b[2JOperation threaddump not recognized!\n"]),
    "only a number": lambda: iter([b"0"]),
    "lies": lambda: iter([lies()]),
}


def serve(connection: socket.socket, mode: str) -> None:
    counts["connections"] += 1
    if mode != "closes":
        connection.recv(4096)
    try:
        for chunk in REPLIES[mode]():
            if chunk is None:
                connection.recv(4096)  # until the other end hangs up
            else:
                connection.sendall(chunk)
    except OSError:
        pass  # whoever asked has gone
    finally:
        connection.close()


def listen(mode: str) -> None:
    kind = socket.SOCK_DGRAM if mode == "datagram" else socket.SOCK_STREAM
    server = socket.socket(socket.AF_UNIX, kind)
    with contextlib.suppress(FileNotFoundError):  # of a process that had our id before
        os.unlink(PATH)
    server.bind(PATH)
    os.chmod(PATH, 0o600)
    others.append(server)
    if mode == "datagram":
        return
    server.listen(0 if mode == "never accepts" else 5)
    if mode == "never accepts":
        for _ in range(3):  # so that its queue is full
            others.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            others[-1].setblocking(False)
            others[-1].connect_ex(PATH)
        return

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection, mode), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def work() -> None:
    hot_tid.append(threading.get_native_id())
    started.set()
    number = 0
    while True:
        wake.wait()
        while state.hot:
            number = (number * 31 + 7) % 1000003


def on_signal(*_: object) -> None:
    counts["signals"] += 1


def main() -> None:
    library, mode = sys.argv[1:3]
    signal.alarm(LIFETIME)
    signal.signal(signal.SIGQUIT, on_signal)
    with open(library, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    threading.Thread(target=work, daemon=True).start()
    started.wait()
    if mode != "no socket":
        listen(mode)
    say(ready=True, pid=os.getpid(), hot_tid=hot_tid[0], main_tid=os.getpid(), mapped=len(mapped))
    for line in sys.stdin:
        word = line.strip()
        state.hot = word == "hot"
        (wake.set if state.hot else wake.clear)()
        say(did=word, **counts)
    if mode != "no socket":
        os.unlink(PATH)
    os._exit(0)


main()

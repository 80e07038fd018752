"""Child processes: argv only, in a session of their own, with a deadline, bounded output and a killed group."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live
from opsdoc.model import Denied, Interrupted, Malformed, TimedOut, Unsupported

OUTPUT_CAP = 64 * 1024 * 1024


class Output(NamedTuple):
    """What a child wrote and how it ended; a negative exit code is the signal that ended it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def run(
    argv: Sequence[str],
    live: Live,
    timeout: float,
    install_hint: str = "",
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Output:
    """Run a child to its end and return its output.

    The child gets no standard input, a session of its own, `env` on top of our environment and, if one is given,
    `folder` to stand in. When `timeout` seconds or the run's deadline pass, when the run is stopped or when it writes
    more than 64 MiB, its whole group is killed and TimedOut, Interrupted or Malformed is raised. A missing program is
    Unsupported with `install_hint`.
    """
    ends = time.monotonic() + min(timeout, live.remaining())
    try:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            cwd=folder,
        )
    except FileNotFoundError:
        raise Unsupported(f"{argv[0]} is not installed", install_hint) from None
    except PermissionError:
        raise Denied(f"{argv[0]} may not be run") from None
    try:
        with live.undone_by(lambda: _kill_group(child)):
            stdout, stderr = _read(argv[0], child, live, ends)
            try:
                exit_code = child.wait(max(0.01, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise TimedOut(f"{argv[0]} closed its output but did not end") from None
    finally:  # here, and not by whoever stops the run: the reader may be about to read
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()
    if live.stopping.is_set():  # then it was we who ended it
        raise Interrupted(f"{argv[0]} was ended with the run")
    return Output(exit_code, stdout, stderr)


def _read(name: str, child: subprocess.Popen[bytes], live: Live, ends: float) -> tuple[bytes, bytes]:
    chunks: dict[int, list[bytes]] = {}
    total = 0
    with selectors.DefaultSelector() as selector:
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                chunks[stream.fileno()] = []
                selector.register(stream.fileno(), selectors.EVENT_READ)
        while selector.get_map():
            left = ends - time.monotonic()
            if left <= 0:
                raise TimedOut(f"{name} did not end in time")
            live.remaining()
            for key, _ in selector.select(min(left, 0.1)):
                data = os.read(key.fd, 65536)
                total += len(data)
                if total > OUTPUT_CAP:
                    raise Malformed(f"{name} wrote more than 64 MiB")
                if data:
                    chunks[key.fd].append(data)
                else:
                    selector.unregister(key.fd)
    stdout, stderr = (b"".join(parts) for parts in chunks.values())
    return stdout, stderr


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child's session and reap it. The group id is the child's own pid: it was not reused."""
    if child.returncode is None:  # not reaped: even if it has ended, its group may hold what it started
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1)

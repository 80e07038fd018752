"""doctor: what opsdoc can and cannot see on this box."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opsdoc.clients.selfcheck import SelfCheck
from opsdoc.host import Host
from opsdoc.model import Unseen
from opsdoc.probes import Item, probe
from opsdoc.signals import sight
from opsdoc.signals.sight import Sight

Facts = Mapping[str, Any]


@probe(judges=(sight,), observes=(Sight,), example="opsdoc doctor -v")
def doctor(host: Host) -> Iterator[Item]:
    """Tell what opsdoc can and cannot see on this box, and the command that would change it.

    Exits with 0 when everything is seen that could change a verdict of `opsdoc cpu`, and with 3 (UNKNOWN) when not.
    Helpers that only add detail, such as perf, are listed when they are missing and do not change the exit code.
    """
    facts = host.ask(SelfCheck()).value
    for look in _LOOKS:
        seen = look(facts)
        yield seen
        if not seen.visible:
            yield Unseen(
                subject=seen.subject,
                reason="denied" if seen.change == _more_rights(facts) else "unsupported",
                detail=seen.state,
                hint=seen.change or "",
            )


def _privileges(facts: Facts) -> Sight:
    return Sight(
        subject="privileges",
        visible=True,
        state=f"uid {facts['uid']}, {'with' if facts['ptrace'] else 'without'} CAP_SYS_PTRACE",
        needed=False,
        serves="everything below",
        change=_more_rights(facts),
    )


def _processes(facts: Facts) -> Sight:
    counts, hidden = facts["processes"], facts["hidepid"] not in (None, "0", "off")
    closed = counts["closed"]
    state = f"{counts['all'] - len(closed)} of {counts['all']} open, {counts['others']} of other users"
    if closed:
        pids = ", ".join(str(pid) for pid in closed[:3])
        state += f"; closed: pid {pids}{f' + {len(closed) - 3} more' if len(closed) > 3 else ''}"
    if hidden:
        state += f"; /proc hides those of others (hidepid={facts['hidepid']})"
    visible = not closed and not (hidden and not facts["ptrace"])
    return Sight(
        subject="all processes",
        visible=visible,
        state=state,
        needed=True,
        serves="command lines, runtimes, JVM stacks",
        change=None if visible else _more_rights(facts),
    )


def _python_stacks(facts: Facts) -> Sight:
    spy, scope = facts["py_spy"], facts["ptrace_scope"]
    state, change = f"py-spy {spy['version']}, {spy['path']}", None
    if spy["path"] is None:
        state, change = spy["why"], "pip install py-spy"
    elif facts["foreign_proc"]:
        state, change = f"{facts['foreign_proc']} may show other process ids than ours", "run opsdoc on that machine"
    elif scope == 3:
        state = "kernel.yama.ptrace_scope is 3: nobody may read another process's memory until the next boot"
        change = "echo kernel.yama.ptrace_scope=1 | sudo tee /etc/sysctl.d/10-ptrace.conf && sudo reboot"
    elif scope and not facts["ptrace"]:
        state, change = (
            f"kernel.yama.ptrace_scope is {scope}: only root may read a process's memory",
            _more_rights(facts),
        )
    return Sight(
        subject="Python stacks",
        visible=change is None,
        state=state,
        needed=True,
        serves="the line of Python code that is hot",
        change=change,
    )


def _pressure(facts: Facts) -> Sight:
    seen = facts["pressure"]
    return Sight(
        subject="pressure (PSI)",
        visible="cpu" in seen,
        state=f"files for {', '.join(seen)}" if seen else "this kernel keeps no /proc/pressure",
        needed=False,
        serves="how long work waited for a CPU",
        change=None if "cpu" in seen else "add psi=1 to the kernel's command line and boot (Linux 4.20 or newer)",
    )


def _perf(facts: Facts) -> Sight:
    level, path = facts["perf_event_paranoid"], facts["perf"]
    state, change = f"{path}, kernel.perf_event_paranoid is {level}", None
    if path is None:
        state, change = "perf is not installed", "sudo apt-get install linux-perf  # linux-tools-generic on Ubuntu"
    elif level is None or (level > 1 and not facts["perfmon"]):
        change = _more_rights(facts)
    return Sight(
        subject="perf",
        visible=change is None,
        state=state,
        needed=False,
        serves="looking by hand at native and kernel code",
        change=change,
    )


def _configuration(facts: Facts) -> Sight:
    files, ignored = facts["config"]["files"], facts["config"]["ignored"]
    return Sight(
        subject="configuration",
        visible=not ignored,
        state="; ".join([f"in use: {', '.join(files) or 'none'}", *(f"ignored {text}" for text in ignored)]),
        needed=False,
        serves="timeout, window, rows, color, limits",
        change="chown or chmod the file, so that only you or root can write it" if ignored else None,
    )


_LOOKS: tuple[Callable[[Facts], Sight], ...] = (
    _privileges,
    _processes,
    _python_stacks,
    _pressure,
    _perf,
    _configuration,
)


def _more_rights(facts: Facts) -> str | None:
    """What gives opsdoc the rights it lacks: root, or the capability that root lacks in a container, or nothing."""
    if facts["uid"]:
        return f"sudo {facts['again']}"
    return None if facts["ptrace"] else "start the container with --cap-add SYS_PTRACE --pid host"

"""How processes, threads and their commands are called in findings."""

from __future__ import annotations

from opsdoc.signals.processes import Process, Thread


def who(process: Process | None, pid: int) -> str:
    """A process in a few words: what is run rather than with what."""
    name = "" if process is None else process.name
    if process is not None and isinstance(process.command, str):
        name = program(process.command) or name
    return f"{name} (pid {pid})" if name else f"pid {pid}"


def program(command: str) -> str:
    """What a command line runs: the jar, class or script of an interpreter, else the program itself."""
    words = command.split(" ")
    first = words[0].rpartition("/")[2]
    if first.startswith(("java", "python")):
        it = iter(words[1:])
        for word in it:
            if word in ("-jar", "-m"):
                return next(it, first).rpartition("/")[2]
            if word in ("-cp", "-classpath", "--class-path", "-p", "--module-path", "-W", "-X"):
                next(it, None)
            elif word == "-c":
                return first
            elif not word.startswith("-"):
                return word.rpartition("/")[2]
    return first


def stable(process: Process | None) -> str:
    """A name of a process that survives its restart."""
    if process is None:
        return "process"
    return program(process.command) if isinstance(process.command, str) else process.name


def by_hand(process: Process | None, thread: Thread | None) -> tuple[str, ...]:
    if thread is None:
        return ("top -c",)
    commands = [f"top -Hp {thread.pid}"]
    runtime = process.runtime if process and isinstance(process.runtime, str) else ""
    tid = thread.ns_tid if isinstance(thread.ns_tid, int) else thread.tid
    if runtime.startswith("jvm") and isinstance(tid, int):
        commands.append(f"jstack -l {thread.pid} | grep -E -A 8 'nid=({tid:#x}|{tid}) |\\[{tid}\\]'")
        if " carrying " in thread.name:  # jstack of Java 21 does not show the code of a virtual thread
            commands.append(f"jcmd {thread.pid} Thread.dump_to_file -format=json /tmp/threads.json")
    elif runtime.startswith("python"):
        commands.append(f"py-spy dump --nonblocking --pid {thread.pid}")
    else:
        commands.append(f"perf record -t {thread.tid} -g -- sleep 1 && perf report")
    return tuple(commands)


def short(path: str | None) -> str:
    return (path or "?").rpartition("/")[2]


def cores(cpu: float) -> str:
    return f"{cpu:.2f} cores"

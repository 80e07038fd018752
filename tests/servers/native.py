"""Programs without a runtime dump: C, Go, Node, Ruby, PHP, Perl, and one that lives in the kernel.

Each runs below a shell that ends it when its own stdin ends, so that they need no word of that themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from servers import jdk, programs
from servers.programs import Program

SOURCES = Path(__file__).parent / "native"
BELOW_A_SHELL = (
    '"$@" >/dev/null 2>&1 & hot=$!; printf \'{"ready": true, "pid": %d}\\n\' $hot; '
    "while read -r word; do :; done; kill -9 $hot; wait"
)
HOT_FUNCTION = "spin_here"
COPY = ("dd", "if=/dev/zero", "of=/dev/null", "bs=512")

# By runtime, as opsdoc names it: a loop in its language. The first word must be on the PATH.
LOOPS = {
    "perl": ("perl", "-e", "sub spin { my $i = 0; $i++ while $i < 1e6 } spin() while 1"),
    "ruby": ("ruby", "-e", "def spin() i = 0; i += 1 while i < 1_000_000 end; spin while true"),
    "php": ("php", "-n", "-r", "function spin() { for ($i = 0; $i < 1000000; $i++); } while (true) spin();"),
    "node": ("node", "-e", "function spin() { let s = 0; for (let i = 0; i < 1e7; i++) s += i } for (;;) spin()"),
}


def run(*argv: str, user: str | None = None, env: dict[str, str] | None = None) -> Program:
    """Start a program, and return when it burns CPU; skips where it is not installed."""
    if shutil.which(argv[0]) is None:
        programs.lacking(f"{argv[0]} is not installed")
    known = None if env is None else {**os.environ, **env}
    program = Program(["/bin/sh", "-c", BELOW_A_SHELL, "sh", *argv], user=user, env=known)
    try:
        programs.wait_until(lambda: _is_hot(program.pid), f"{program} to be hot")
    except BaseException:
        program.stop()
        raise
    return program


def _is_hot(pid: int) -> bool:
    """Whether the shell's child has become the program, and works."""
    with contextlib.suppress(OSError):
        shell = os.path.samefile(f"/proc/{pid}/exe", "/bin/sh")
        return not shell and programs.cpu_seconds(pid) > 0.1
    return False


def spin(user: str | None = None) -> Program:
    """A C program whose CPU is all in `spin_here`."""
    return run(str(compiled("spin")), user=user)


def copying() -> Program:
    """`dd` with small blocks: its CPU is all in read and write."""
    return run(*COPY)


def many_threads(count: int) -> Program:
    """A C program with that many threads that wait, and one, `spinner`, whose CPU is all in `spin_here`."""
    program = run(str(compiled("threads", "-pthread")), str(count))
    programs.wait_until(lambda: len(programs.threads(program.pid)) == count + 2, f"all threads of {program}")
    return program


def loop(runtime: str) -> Program:
    """A loop in the language of a runtime."""
    return run(*LOOPS[runtime])


def go(*, stripped: bool = False) -> Program:
    """A Go program whose CPU is all in `main.spinHere`, with or without its tables of symbols."""
    return run(str(built_by_go(stripped=stripped)))


def compiled(name: str, *options: str) -> Path:
    """A C program, compiled once with frame pointers."""
    command = ["gcc", "-O1", "-fno-omit-frame-pointer", *options, str(SOURCES / f"{name}.c"), "-o"]
    return _made(name, SOURCES / f"{name}.c", command, {})


def built_by_go(*, stripped: bool = False) -> Path:
    """The Go program, built once; without a network, for it needs no module."""
    flags = ["-ldflags", "-s -w"] if stripped else []
    name = "spin-go-stripped" if stripped else "spin-go"
    env = {
        "GOCACHE": str(jdk.cache() / "go"),
        "GOPATH": str(jdk.cache() / "go-path"),
        "GOFLAGS": "",
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
    }
    return _made(name, SOURCES / "spin.go", ["go", "build", *flags, "-o"], env, last=[str(SOURCES / "spin.go")])


def _made(name: str, source: Path, command: list[str], env: dict[str, str], last: list[str] | None = None) -> Path:
    """What a compiler makes of a source, kept for all runs; workers that need it at once wait for each other."""
    if shutil.which(command[0]) is None:
        programs.lacking(f"{command[0]} is not installed")
    folder = jdk.cache() / "native" / str(source.stat().st_mtime_ns)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = made.with_name(made.name + ".part")
            subprocess.run(
                [*command, str(part), *(last or [])],
                check=True,
                capture_output=True,
                timeout=300,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
            )
            part.rename(made)
    return made

"""A cgroup with a CPU quota or a memory limit for one program, made for a test and gone after it in every case.

Where cgroup v1 has the controller its own hierarchy is used, else v2 where the controller is on. Only root can make
one; what cannot be had skips the test, and in CI fails it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from opsdoc.parsers.cgroup import Mount, parse_mounts
from servers.programs import Program, lacking, wait_until

NAME = "opsdoc-test"
PERIOD = 100_000  # microseconds, the kernel's default
_numbers = itertools.count(1)


class Group:
    """One cgroup: `folder` is where it is mounted, `path` what /proc/PID/cgroup calls it."""

    def __init__(self, mount: Mount, parent: Group | None = None, name: str = "") -> None:
        self.mount = mount
        self.name = name or f"{NAME}-{os.getpid()}-{next(_numbers)}"
        self.folder = (Path(mount.point) if parent is None else parent.folder) / self.name
        self.path = f"{mount.root.rstrip('/') if parent is None else parent.path}/{self.name}"

    def limit(self, *, cores: float | None, memory: int | None) -> None:
        """Set a quota in cores, or a memory limit in bytes."""
        v1 = self.mount.version == 1
        if cores is not None:
            quota = round(cores * PERIOD)
            self.write("cpu.cfs_quota_us" if v1 else "cpu.max", str(quota) if v1 else f"{quota} {PERIOD}")
        if memory is not None:
            self.write("memory.limit_in_bytes" if v1 else "memory.max", str(memory))

    def add(self, pid: int) -> None:
        """Move a process, with all its threads, into it."""
        self.write("cgroup.procs", str(pid))

    def write(self, name: str, value: str) -> None:
        (self.folder / name).write_text(value)

    @property
    def stat(self) -> dict[str, int]:
        """Its cpu.stat."""
        lines = (self.folder / "cpu.stat").read_text().splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines)}

    def remove(self) -> None:
        """Remove it, with whoever is still in it moved out."""

        def gone() -> bool:
            for pid in (self.folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (self.folder.parent / "cgroup.procs").write_text(pid)
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            return not self.folder.exists()

        if self.folder.exists():
            wait_until(gone, f"{self.folder} to be removed")


@contextlib.contextmanager
def group(
    *, cores: float | None = None, memory: int | None = None, parent: Group | None = None, name: str = ""
) -> Iterator[Group]:
    """A new cgroup, with a quota in cores or a memory limit in bytes."""
    mount = _mount("memory" if memory is not None else "cpu") if parent is None else parent.mount
    made = Group(mount, parent, name)
    try:
        try:
            made.folder.mkdir()
            made.limit(cores=cores, memory=memory)
        except OSError as error:
            lacking(f"no cgroup can be made here: {error}")
        yield made
    finally:
        made.remove()


@contextlib.contextmanager
def program_in(made: Group, maker: Callable[..., Program], *args: object, **options: object) -> Iterator[Program]:
    """A program that runs in a cgroup; it is ended before the cgroup is removed."""
    program = maker(*args, **options)
    try:
        made.add(program.pid)
        yield program
    finally:
        program.stop()


def _mount(controller: str) -> Mount:
    if os.geteuid() != 0:
        lacking("only root can make a cgroup")
    mounts = parse_mounts(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
    v1 = [mount for mount in mounts if mount.version == 1 and controller in mount.controllers]
    v2 = [mount for mount in mounts if mount.version == 2 and controller in _switched_on(mount)]
    if not v1 + v2:
        lacking(f"no cgroup hierarchy is mounted whose children have the {controller} controller")
    mount = (v1 + v2)[0]
    _sweep(Path(mount.point))
    return mount


def _switched_on(mount: Mount) -> list[str]:
    """The controllers that children of the mounted cgroup have; switching more on would change the machine."""
    with contextlib.suppress(OSError):
        return (Path(mount.point) / "cgroup.subtree_control").read_text().split()
    return []


def _sweep(folder: Path) -> None:
    """Remove what test runs left that were killed."""
    for left in folder.glob(f"{NAME}-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            with contextlib.suppress(OSError):
                left.rmdir()

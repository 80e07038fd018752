"""Control groups: the one that a process is in, with its ancestors, and what they allow it to use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

from opsdoc.clients import Live
from opsdoc.clients.below import below
from opsdoc.clients.proc import gone
from opsdoc.model import Malformed, ProbeError, Unsupported
from opsdoc.parsers import cgroup as parser
from opsdoc.parsers.cgroup import Membership, Mount

FILE_CAP = 4096  # bytes of one file of a cgroup: cpu.stat has about 400
LIST_CAP = 4 << 20  # bytes of mountinfo: a machine with many containers has some hundred KiB
DEPTH = 32  # ancestors; Kubernetes has five

# Where the hierarchies stand on every distribution, for a `--proc` folder whose mounts cannot be read.
_STANDARD = (
    Mount(2, (), "/", "/sys/fs/cgroup"),
    Mount(1, ("cpu",), "/", "/sys/fs/cgroup/cpu,cpuacct"),
    Mount(1, ("cpu",), "/", "/sys/fs/cgroup/cpu"),
    Mount(1, ("memory",), "/", "/sys/fs/cgroup/memory"),
)

Level = dict[str, Any]


class Cgroup(NamedTuple):
    """The cgroup of a process: itself first, then its ancestors up to the root of what is mounted, with their limits.

    Quotas are in cores, null for no limit; the counters of a level without one are not read. Memory is that of the
    level with the smallest limit. What could not be read is null or absent, with the reason under `unknown`.
    """

    pid: int

    def key(self) -> str:
        return f"cgroup.read {self.pid}"

    def answer(self, live: Live) -> dict[str, Any]:
        groups = _groups(live, self.pid)
        group = _with_controller(groups, "cpu")
        if group is None:
            raise Unsupported("this kernel has no CPU controller for cgroups")
        look = _Look(live, self.pid)
        levels = look.levels("cpu", group)
        memory = _with_controller(groups, "memory")
        limited = [one for one in (look.levels("memory", memory) if memory else []) if one.get("limit_bytes")]
        smallest = min(limited, key=lambda one: int(one["limit_bytes"]), default=None)
        return {
            "version": 1 if group.controllers else 2,
            "path": look.shown(group.path),
            "levels": levels,
            "memory": smallest and {name: smallest[name] for name in ("path", "limit_bytes", "used_bytes")},
            "unknown": look.unknown,
        }


def _groups(live: Live, pid: int) -> list[Membership]:
    try:
        return parser.parse_membership(_whole(f"{live.proc}/{pid}/cgroup", 65536))
    except FileNotFoundError:
        if os.path.exists(f"{live.proc}/{pid}/stat"):
            raise Unsupported("this kernel has no cgroups") from None
        raise gone(pid) from None
    except ProcessLookupError:
        raise gone(pid) from None
    except OSError as error:
        raise Unsupported(f"/proc/{pid}/cgroup: {error.strerror}") from None


def _with_controller(groups: Sequence[Membership], controller: str) -> Membership | None:
    """The cgroup that a controller limits: of v1 where it is mounted there, else the one of v2."""
    v1 = next((group for group in groups if controller in group.controllers), None)
    return v1 or next((group for group in groups if not group.controllers), None)


class _Look:
    """One look at the cgroups of a process, with the reasons for what could not be seen."""

    def __init__(self, live: Live, pid: int) -> None:
        self._live = live
        # Our own view first. From within another cgroup namespace the target's own view shows at least its cgroup.
        self._viewers = (live.proc / ("1" if live.foreign_proc else "self"), live.proc / str(pid))
        self._mounts: dict[Path, Sequence[Mount]] = {}
        self.unknown: dict[str, str] = {}

    def shown(self, path: str) -> str:
        """A path as it may leave the machine."""
        return self._live.redactor.text(path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))

    def levels(self, controller: str, group: Membership) -> list[Level]:
        """A cgroup and its ancestors; none, with the reason, where their folders cannot be found.

        Raises Unsupported where no cgroup is mounted at all.
        """
        reason = ""
        for viewer in self._viewers:
            for mount in self._mounts_of(viewer):
                here = controller in mount.controllers if group.controllers else mount.version == 2
                folders = parser.folders_below(mount.root, group.path) if here else None
                if folders is None:
                    continue
                try:
                    return self._walk(viewer, mount, folders, _READERS[controller, mount.version])
                except ProbeError as error:
                    reason = reason or error.detail
                except OSError as error:
                    reason = reason or f"{self.shown(group.path)}: {error.strerror}"
        if not any(self._mounts.values()):
            raise Unsupported("no cgroup file system is mounted")
        self.unknown[controller] = reason or f"no mount that can be seen from here shows {self.shown(group.path)}"
        return []

    def _mounts_of(self, viewer: Path) -> Sequence[Mount]:
        if viewer not in self._mounts:
            try:
                mounts: Sequence[Mount] = parser.parse_mounts(_whole(f"{viewer}/mountinfo", LIST_CAP))
            except (OSError, Malformed):
                mounts = _STANDARD if viewer == self._viewers[0] else ()
            self._mounts[viewer] = sorted(mounts, key=lambda mount: len(mount.root))  # those with more ancestors first
        return self._mounts[viewer]

    def _walk(self, viewer: Path, mount: Mount, folders: list[str], read: Callable[[int], Level]) -> list[Level]:
        if len(folders) > DEPTH:
            raise Unsupported(f"it is nested more than {DEPTH} deep")
        levels: list[Level] = []
        path, folder = mount.root.rstrip("/"), mount.point
        with below(viewer, "root" + mount.point, self._live) as top:
            for name, descriptor in _down(top, folders):
                if name:
                    path, folder = f"{path}/{name}", f"{folder}/{name}"
                level = {"path": self.shown(path or "/"), "folder": self.shown(folder)}
                try:
                    level |= read(descriptor)
                except OSError as error:
                    self.unknown[level["path"]] = f"{level['folder']}: {error.strerror}"
                except Malformed as error:
                    self.unknown[level["path"]] = error.detail
                levels.append(level)
        return levels[::-1]


def _down(top: int, folders: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The folder itself, then each one below it, by name and descriptor; no symlink is followed."""
    yield "", top
    descriptor = top
    try:
        for name in folders:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
            if descriptor != top:
                os.close(descriptor)
            descriptor = inner
            yield name, descriptor
    finally:
        if descriptor != top:
            os.close(descriptor)


# ── one level ────────────────────────────────────────────────────────────────────────────────────


def _cpu_v1(folder: int) -> Level:
    quota = _file(folder, "cpu.cfs_quota_us")
    cores = None if quota is None else parser.parse_quota(quota, _file(folder, "cpu.cfs_period_us") or "")
    used = None if cores is None else _file(folder, "cpuacct.usage")
    return {
        "quota": cores,
        **_counters(folder, cores, "throttled_time", 1e9),
        "used_seconds": int(used) / 1e9 if used is not None and used.isdecimal() else None,
    }


def _cpu_v2(folder: int) -> Level:
    quota, _, period = (_file(folder, "cpu.max") or "max").partition(" ")
    cores = parser.parse_quota(quota, period)
    return {"quota": cores, **_counters(folder, cores, "throttled_usec", 1e6)}


def _counters(folder: int, quota: float | None, time: str, second: float) -> Level:
    """How often and how long a level was throttled, by its own quota or, all told, by whosever."""
    values = parser.parse_counters(_file(folder, "cpu.stat") or "") if quota is not None else {}
    inherited = parser.parse_counters(_file(folder, "cpu.stat.local") or "")  # Linux 6.6 and newer
    used = values.get("usage_usec")
    return {
        "periods": values.get("nr_periods"),
        "throttled_periods": values.get("nr_throttled"),
        "throttled_seconds": values[time] / second if time in values else None,
        "held_seconds": inherited[time] / second if time in inherited else None,
        "used_seconds": None if used is None else used / 1e6,
    }


def _memory_v1(folder: int) -> Level:
    return _memory(folder, "memory.limit_in_bytes", "memory.usage_in_bytes")


def _memory_v2(folder: int) -> Level:
    return _memory(folder, "memory.max", "memory.current")


def _memory(folder: int, limit: str, used: str) -> Level:
    limited = parser.parse_limit(_file(folder, limit) or "max")
    return {
        "limit_bytes": limited,
        "used_bytes": None if limited is None else parser.parse_limit(_file(folder, used) or "max"),
    }


_READERS: dict[tuple[str, int], Callable[[int], Level]] = {
    ("cpu", 1): _cpu_v1,
    ("cpu", 2): _cpu_v2,
    ("memory", 1): _memory_v1,
    ("memory", 2): _memory_v2,
}


def _file(folder: int, name: str) -> str | None:
    """A file of a cgroup; None where there is none, as at the root or for a controller that is off."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise Malformed(f"{name} is not a file")
        return os.read(descriptor, FILE_CAP).decode("utf-8", "backslashreplace").strip()
    finally:
        os.close(descriptor)


def _whole(path: str, cap: int) -> str:
    """A file of /proc; names in it are bytes, and become the same bytes again when they are opened."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        chunks = []
        while cap > 0 and (chunk := os.read(descriptor, min(cap, 65536))):
            chunks.append(chunk)
            cap -= len(chunk)
        return b"".join(chunks).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)

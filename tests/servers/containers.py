"""Programs in containers: pid, mount and, if asked for, file system of their own, under another user, seen from here.

Containers are nothing but namespaces, so `unshare` makes them without an engine. What such a program says of itself it
says with the ids of its own world; `pid` and `facts` hold those of the host, `inside` what it said.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from servers import jdk, users
from servers.cli import descendants
from servers.programs import PY, Program, group_of, lacking, wait_until

NOBODY = users.NOBODY
_IDS = ("pid", "hot_tid", "main_tid")  # facts that are thread ids

# Everything happens in a mount namespace of its own, of which nothing comes back: `unshare` makes it private.
_SETUP = r"""
set -e
exec 3<&0
PATH=$PATH:/usr/sbin:/sbin
root=$1 tmp=$2 app=$3 cwd=$4 init=$5 user=$6 group=$7
shift 7
if [ -n "$root" ]; then
    mount --bind "$root" "$root"
    for part in bin dev etc lib lib64 sbin usr; do
        if [ -d "$root/$part" ] && [ ! -L "$root/$part" ]; then mount --rbind "/$part" "$root/$part"; fi
    done
    mkdir -p "$root$app"
    mount --bind "$app" "$root$app"
    mount -t proc proc "$root/proc"
fi
case "$tmp" in
    "") ;;
    tmpfs) mount -t tmpfs -o mode=1777 tmpfs "$root/tmp" ;;
    *) mount --bind "$tmp" "$root/tmp" ;;
esac
if [ -n "$root" ]; then
    mkdir -p "$root/old"
    cd "$root"
    pivot_root . old
    umount -l /old
fi
cd "$cwd"
set -- setpriv --reuid "$user" --regid "$group" --clear-groups "$@"
if [ -z "$init" ]; then exec "$@"; fi
"$@" <&3 &
wait $!
"""


def ids_inside(pid: int, tid: int | None = None) -> list[int]:
    """The id of a process, or of one of its threads, in each pid namespace, the innermost last; empty if it is gone."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/task/{tid or pid}/status").read_text(errors="replace")
        found = re.search(r"^NSpid:\s*(.*)$", status, re.MULTILINE)
        if found:
            return [int(word) for word in found[1].split()]
    return []


class Contained(Program):
    """A program in namespaces of its own, as `user`; `inside` holds the ids that it has there.

    `tmp` is what it has at /tmp: `tmpfs`, a folder of the host as a volume, or with None what stands there anyway.
    `root` is the folder of a file system of its own, which `new_root` makes. `init` puts a shell at its pid 1, as
    `docker run --init` does; without one the program itself is pid 1, as images mostly have it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        app: Path,
        *,
        user: str = NOBODY,
        tmp: str | Path | None = "tmpfs",
        root: Path | None = None,
        init: bool = False,
        cwd: str = "/",
        env: dict[str, str] | None = None,
        timeout: float = 60.0,
    ) -> None:
        if not _may_unshare():
            shutil.rmtree(app, ignore_errors=True)
            lacking("no right to make namespaces (root with CAP_SYS_ADMIN)")
        words = [root or "", tmp or "", app, cwd, "init" if init else "", pwd.getpwnam(user).pw_uid, group_of(user)]
        unshare = ["unshare", "--pid", "--mount", "--propagation", "private", "--fork", "--kill-child"]
        if root is None:
            unshare.append("--mount-proc")
        command = [*unshare, "sh", "-c", _SETUP, "sh", *map(str, words), *argv]
        variables = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {})}
        super().__init__(command, env=variables, litter=app, timeout=timeout)
        self.inside = {name: self.facts[name] for name in _IDS if name in self.facts}
        self.inside.setdefault("pid", self.facts.get("main_tid", 1))
        self.pid = wait_until(self._pid_here, f"{self} to be seen from outside")
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            for name, there in self.inside.items():
                if ids_inside(self.pid, int(tid))[-1:] == [there]:
                    self.facts[name] = int(tid)
        self.facts["pid"] = self.pid

    def _pid_here(self) -> int | None:
        for pid in descendants(self._process.pid):
            if len(ids := ids_inside(pid)) > 1 and ids[-1] == self.inside["pid"]:
                return pid
        return None

    def die(self) -> None:
        """Kill it as the kernel would; with pid 1 its whole container ends."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait(20)

    @property
    def tmp(self) -> Path:
        """Its /tmp, as seen from here."""
        return Path(f"/proc/{self.pid}/root/tmp")

    @property
    def socket(self) -> Path:
        """Where its attach socket stands, if it is a JVM that has one."""
        return self.tmp / f".java_pid{self.inside['pid']}"

    def markers(self) -> list[str]:
        """The marker files for it, wherever they may stand: in its world and in ours, with either id."""
        names = [f".attach_pid{pid}" for pid in {self.pid, self.inside["pid"]}]
        folders = [self.tmp, Path(f"/proc/{self.pid}/cwd"), Path(f"/proc/{self.pid}/root"), Path("/"), Path("/tmp")]
        return [str(folder / name) for folder in folders for name in names if os.path.lexists(folder / name)]


@functools.cache
def _may_unshare() -> bool:
    try:
        done = subprocess.run(
            ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "setpriv", "--version"],
            capture_output=True,
            timeout=20,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def new_root(folder: Path) -> Path:
    """A root file system below a folder: the system's programs, and all else empty and its own."""
    root = folder / "root"
    for part in ("bin", "dev", "etc", "lib", "lib64", "sbin", "usr", "proc"):
        source = Path("/", part)
        if source.is_symlink():
            root.mkdir(exist_ok=True)
            (root / part).symlink_to(os.readlink(source))
        elif source.is_dir():
            (root / part).mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    root.chmod(0o755)
    return root


def _app() -> Path:
    """A folder that everybody may read, and that a /tmp of its own does not hide."""
    folder = Path(tempfile.mkdtemp(prefix="opsdoc-container-", dir="/var/tmp"))
    folder.chmod(0o755)
    return folder


def _readable(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def jvm(
    main: str = "HotOne",
    args: Sequence[object] = (50, 10),
    *,
    options: Sequence[str] = (),
    files: Mapping[str, str] = MappingProxyType({}),
    only_jre: bool = False,
    **how: Any,
) -> Contained:
    """A JVM in a container: by default one of 50 threads, order-worker-3, spins in OrderPricer.recalculate.

    `files` are written beside it, and `{app}` in an option stands for their folder.
    """
    app = _app()
    shutil.copytree(jdk.classes(), app / "classes")
    for name, text in files.items():
        (app / name).write_text(text)
    java = jdk.tool("java")
    if only_jre:
        shutil.copytree(jre(), app / "jre", symlinks=True)
        java = str(app / "jre/bin/java")
    options = [option.replace("{app}", str(app)) for option in options]
    _readable(app)
    collector = [] if any(option.endswith("GC") for option in options) else ["-XX:+UseG1GC"]
    command = [java, *collector, "-Xmx128m", *options, "-cp", str(app / "classes")]
    return Contained([*command, f"com.acme.{main}", *map(str, args)], app, **how)


def python(threads: int = 50, depth: int = 15, *, name: str = "hot_one", **how: Any) -> Contained:
    """A Python program in a container: one of that many threads spins in `recalculate`."""
    app = _app()
    shutil.copytree(PY, app / "py", ignore=shutil.ignore_patterns("__pycache__"))
    _readable(app)
    return Contained([users.python_for(), str(app / "py" / f"{name}.py"), str(threads), str(depth)], app, **how)


@functools.cache
def jre() -> Path:
    """A JRE as small images have it, made by jlink into the cache: java.base and no tool, nor any module to attach."""
    home = jdk.home()
    if home is None or not (home / "bin/jlink").exists() or not (home / "jmods").is_dir():
        lacking("no jlink with its jmods (apt-get install openjdk-17-jdk-headless)")
    done = jdk.cache() / f"jre-{Path(home).name}"
    if not done.exists():
        done.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="jlink-", dir=done.parent))
        command = [str(home / "bin/jlink"), "--add-modules", "java.base", "--strip-debug", "--no-header-files"]
        subprocess.run([*command, "--no-man-pages", "--output", str(work / "jre")], check=True, timeout=180)
        try:
            (work / "jre").rename(done)
        except OSError:  # another worker was faster
            if not done.exists():
                raise
        shutil.rmtree(work)
    return done

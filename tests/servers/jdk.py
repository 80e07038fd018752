"""The JDK and the Java programs: found, compiled once into a cache outside the checkout, started."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from servers.programs import HERE, Program, lacking, marked_line

SOURCES = HERE / "java"
LINE = marked_line(SOURCES / "com/acme/OrderPricer.java")
WANTED = 17


def cache() -> Path:
    """The folder for what is worth keeping between runs of the tests."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "opsdoc-tests"


def _homes() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    yield from sorted(Path("/usr/lib/jvm").glob("*"))
    if javac := shutil.which("javac"):
        yield Path(javac).resolve().parent.parent


def _version(home: Path) -> int:
    try:
        found = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', (home / "release").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


@functools.cache
def home() -> Path | None:
    """The home of a JDK 17, or else of the oldest later one."""
    found = {h.resolve(): _version(h) for h in _homes() if (h / "bin/javac").exists()}
    fit = [h for h, version in found.items() if version >= WANTED]
    return min(fit, key=lambda h: found[h], default=None)


def tool(name: str) -> str:
    """The path of one of the JDK's tools."""
    jdk = home()
    if jdk is None:
        lacking("no JDK 17 (apt-get install openjdk-17-jdk-headless)")
    return str(jdk / "bin" / name)


@functools.cache
def classes() -> Path:
    """The compiled programs, in the cache."""
    javac = tool("javac")
    sources = sorted(SOURCES.rglob("*.java"))
    key = hashlib.sha256(b"\0".join([javac.encode(), *(s.read_bytes() for s in sources)])).hexdigest()[:16]
    done = cache() / f"classes-{key}"
    if not done.exists():
        done.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="compile-", dir=done.parent))
        subprocess.run([javac, "-g", "-d", str(work), *map(str, sources)], check=True, timeout=120)
        try:
            work.rename(done)
        except OSError:  # another worker was faster
            shutil.rmtree(work)
    return done


def java(main: str, *args: object, options: tuple[str, ...] = (), user: str | None = None) -> Program:
    """A JVM with one of the programs of com.acme; without a socket to attach to unless `options` ask for one."""
    path, copy = classes(), None
    if user is not None:  # who may not look into our cache
        path = copy = Path(tempfile.mkdtemp(prefix="opsdoc-classes-"))
        shutil.copytree(classes(), path, dirs_exist_ok=True)
        path.chmod(0o755)
    command = [tool("java"), "-XX:+UseG1GC", "-Xmx256m", "-Xshare:auto", *options, "-cp", str(path)]
    env = {k: v for k, v in os.environ.items() if k not in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")}
    return Program([*command, f"com.acme.{main}", *map(str, args)], env=env, user=user, litter=copy)


ATTACHABLE = ("-XX:+StartAttachListener",)


def hot_one(threads: int = 400, depth: int = 20, options: tuple[str, ...] = (), user: str | None = None) -> Program:
    """One thread, order-worker-3, spins in OrderPricer.recalculate at LINE; all others are parked."""
    return java("HotOne", threads, depth, options=options, user=user)


def lukewarm(threads: int = 60, work_ms: float = 4, period_ms: int = 200) -> Program:
    """Every thread uses about work/period of a core, all in Stock.reserve."""
    return java("Lukewarm", threads, work_ms, period_ms, options=ATTACHABLE)


def hostile_names(*args: str) -> Program:
    """Threads with names that forge dumps, markup and escape codes; the hot one is `[red]x[/closed]`."""
    return java("HostileNames", *args, options=ATTACHABLE)


def gc_bound(full: float = 0.84) -> Program:
    """A heap so full that the collector works most of the time; `hot()` puts the measured `gc_share` into facts."""
    return java("GcBound", full, options=(*ATTACHABLE, "-Xmx64m", "-Xms64m"))

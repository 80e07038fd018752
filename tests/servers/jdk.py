"""The JDKs and the Java programs: found, compiled once into a cache outside the checkout, started on any release."""

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
from servers.provision import RUNTIMES, cache, runtime

SOURCES = HERE / "java"
LINE = marked_line(SOURCES / "com/acme/OrderPricer.java")
WANTED = 17
RELEASES = (11, 17, 21, 25)
OLDEST = 11  # what the programs are compiled for: those that need more than it has ask for it by reflection


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


def home_of(release: int) -> Path:
    """The home of a Java of exactly that release: a JDK for 17, only what runs programs for the others."""
    found = runtime(release) if release in RUNTIMES else home()
    if found is None or _version(found) != release:
        lacking(f"no Java {release} (python tests/servers/provision.py)")
    return found


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
    command = [javac, "--release", str(OLDEST), "-g"]
    key = hashlib.sha256(b"\0".join([*map(str.encode, command), *(s.read_bytes() for s in sources)])).hexdigest()[:16]
    done = cache() / f"classes-{key}"
    if not done.exists():
        done.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="compile-", dir=done.parent))
        subprocess.run([*command, "-d", str(work), *map(str, sources)], check=True, timeout=120)
        try:
            work.rename(done)
        except OSError:  # another worker was faster
            shutil.rmtree(work)
    return done


def java(
    main: str,
    *args: object,
    options: tuple[str, ...] = (),
    user: str | None = None,
    release: int | None = None,
    collector: str = "G1",
) -> Program:
    """A JVM with one of the programs of com.acme; without a socket to attach to unless `options` ask for one.

    `release` is exact; without it JDK 17 or the oldest later one is taken. `collector` is G1, Serial, Parallel, Z or
    Shenandoah.
    """
    path, binary, copy = classes(), Path(tool("java")), None
    if release is not None:
        binary = home_of(release) / "bin/java"
    if user is not None:  # who may not look into our cache
        copy = Path(tempfile.mkdtemp(prefix="opsdoc-classes-"))
        copy.chmod(0o755)
        path = shutil.copytree(path, copy / "classes")
        path.chmod(0o755)
        if binary.is_relative_to(cache()):
            binary = shutil.copytree(binary.parent.parent, copy / "java", symlinks=True) / "bin/java"
    unlock = ["-XX:+UnlockExperimentalVMOptions"] if collector in ("Z", "Shenandoah") else []  # on Java 11
    command = [str(binary), *unlock, f"-XX:+Use{collector}GC", "-Xmx256m", "-Xshare:auto", *options, "-cp", str(path)]
    env = {k: v for k, v in os.environ.items() if k not in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")}
    return Program([*command, f"com.acme.{main}", *map(str, args)], env=env, user=user, litter=copy)


ATTACHABLE = ("-XX:+StartAttachListener",)


# One carrier, and never another in its place: its id is the one that burns.
ONE_CARRIER = ("-Djdk.virtualThreadScheduler.parallelism=1", "-Djdk.virtualThreadScheduler.maxPoolSize=1")


def hot_one(
    threads: int = 400,
    depth: int = 20,
    options: tuple[str, ...] = (),
    user: str | None = None,
    release: int | None = None,
) -> Program:
    """One thread, order-worker-3, spins in OrderPricer.recalculate at LINE; all others are parked."""
    return java("HotOne", threads, depth, options=options, user=user, release=release)


def hot_virtual(name: str = "order-7", parked: int = 3, user: str | None = None, release: int = 21) -> Program:
    """A virtual thread (`-`: without a name) spins in OrderPricer.recalculate at LINE; all others are parked.

    facts: hot_tid, the kernel's id of the thread that carries it, and virtual, its number.
    """
    return java("HotVirtual", name, parked, options=(*ATTACHABLE, *ONE_CARRIER), user=user, release=release)


def lukewarm(threads: int = 60, work_ms: float = 4, period_ms: int = 200) -> Program:
    """Every thread uses about work/period of a core, all in Stock.reserve."""
    return java("Lukewarm", threads, work_ms, period_ms, options=ATTACHABLE)


def hostile_names(*args: str) -> Program:
    """Threads with names that forge dumps, markup and escape codes; the hot one is `[red]x[/closed]`."""
    return java("HostileNames", *args, options=ATTACHABLE)


def direct_cache(pages: int = 190, most: str = "192m", **more: object) -> Program:
    """A cache of pages of 1 MiB in direct buffers, of which there may be as many as `most`; `hot` replaces them."""
    options = (*ATTACHABLE, "-Xmx64m", "-Xms16m", f"-XX:MaxDirectMemorySize={most}")
    return java("DirectCache", pages, options=options, **more)


def gc_bound(full: float = 0.84) -> Program:
    """A heap so full that the collector works most of the time; `hot()` puts the measured `gc_share` into facts."""
    return java("GcBound", full, options=(*ATTACHABLE, "-Xmx64m", "-Xms64m"))

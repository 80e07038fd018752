"""Install what the tests need from Debian's packages: `python tests/servers/provision.py`.

Only what is missing is installed, and only as root; without root, apt or a network it says what will be skipped and
goes on. It runs before anything else is there, so it uses the standard library alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

APT_TIMEOUT = 900


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
    Need(("jstack",), ("openjdk-17-jdk-headless", "openjdk-21-jdk-headless"), "Java programs"),
)


def missing() -> list[Need]:
    """What is not there."""
    return [need for need in NEEDS if not _has(need)]


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
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


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
    return _apt("install", "--no-install-recommends", *packages)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def provision() -> list[Need]:
    """Install what is missing and return what still is."""
    needs = missing()
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
        for need in missing():  # one that is not to be had must not keep the others away
            any(_install([package]) for package in need.packages)
    return missing()


def main() -> int:
    """Report what is still missing; it is the tests that fail for it in CI."""
    for need in provision():
        _say(f"missing: {need.commands[0]} (apt-get install {need.packages[0]}); skipped: {need.tests}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

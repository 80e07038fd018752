"""Processes that pass for a JVM and are none: hostile ends of the attach socket, and threads with borrowed names."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from servers import jdk
from servers.programs import PY, Program, lacking, python


def libjvm() -> Path:
    """The library whose mapping makes a process a JVM."""
    home = jdk.home()
    if home is None:
        lacking("no JDK 17 (apt-get install openjdk-17-jdk-headless)")
    return home / "lib/server/libjvm.so"


def impostor(mode: str, launcher: Path | None = None) -> Program:
    """A process with libjvm.so mapped that answers at its attach socket as `mode` says; facts: hot_tid.

    Its executable is the interpreter of the tests, or a copy of it at the path `launcher`.

    What it counted comes with the answer to every word: `signals` and `connections`. The modes are in py/impostor.py;
    `no socket`, `datagram` and `never accepts` are those that answer nobody.
    """
    if launcher is None:
        return python("impostor", libjvm(), mode)
    shutil.copy(Path(sys.executable).resolve(), launcher)
    env = {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": str(Path(sys.base_prefix) / "lib")}
    return Program([str(launcher), str(PY / "impostor.py"), str(libjvm()), mode], env=env)


def called_a_compiler(folder: Path) -> Program:
    """A program called java, whose one hot thread is called C2 CompilerThread0, that has no JVM in it.

    A shell, whose process name is that of its file: 15 bytes are all that the kernel keeps of it.
    """
    shell = folder / "C2 CompilerThread0"
    shell.symlink_to("/bin/sh")
    script = (
        "exec 3<&0; trap 'echo SIGQUIT came' QUIT; (while read -r word <&3; do :; done; kill -9 $$) & "
        "echo '{\"ready\": true}'; while :; do :; done"
    )
    return Program(["java", "-c", script, "-jar", "shop.jar"], executable=str(shell))

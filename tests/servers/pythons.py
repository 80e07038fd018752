"""The Python interpreters of this machine, of as many versions as there are: pyenv's, uv's, and those on the PATH."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.programs import PY, Program

OLD = ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10")  # py-spy tells no thread ids of them without stopping them
NEW = ("3.11", "3.12", "3.13", "3.14")
_NAME = re.compile(r"python(\d\.\d{1,2})")


def _candidates() -> Iterator[Path]:
    """Files called `python3.X`; pyenv's shims are scripts that decide later, so what they stand for is looked up."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    folders = [*sorted(pyenv.glob("versions/*/bin"), reverse=True), *sorted(uv.glob("*/bin"), reverse=True)]
    on_path = [Path(word) for word in os.environ.get("PATH", "").split(os.pathsep) if word]
    folders += [path for path in on_path if path.name != "shims"]
    folders += [Path("/usr/local/bin"), Path("/usr/bin")]
    for folder in folders:
        yield from sorted(folder.glob("python[0-9].*"))


@functools.cache
def interpreters() -> dict[str, Path]:
    """The first that runs of each version, as the file that the kernel would name."""
    found: dict[str, Path] = {}
    for path in _candidates():
        name = _NAME.fullmatch(path.name)
        if name is not None and name[1] not in found and _runs(path, name[1]):
            found[name[1]] = path.resolve()
    return found


def _runs(path: Path, version: str) -> bool:
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == version


def interpreter(version: str) -> Path:
    """The interpreter of a version; skips where this machine has none."""
    path = interpreters().get(version)
    if path is None:
        pytest.skip(f"no Python {version} on this machine")
    return path


def oldest(*versions: str) -> Path:
    """The first of these versions that is here; skips where there is none."""
    for version in versions:
        if version in interpreters():
            return interpreters()[version]
    pytest.skip(f"none of Python {', '.join(versions)} on this machine")


def run(version: str, name: str, *args: object) -> Program:
    """One of the programs that any Python can run, by that version."""
    return Program([str(interpreter(version)), str(PY / f"{name}.py"), *map(str, args)])

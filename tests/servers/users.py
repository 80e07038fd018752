"""opsdoc as another user.

The checkout, the virtual environment and even the interpreter may stand below a home that others cannot enter. So a
second installation is made where everybody can read: a virtual environment of an interpreter that the user can start,
with opsdoc and its dependencies copied from the one the tests run in. Nothing is downloaded. C extensions that do not
fit the other interpreter are optional for those packages that have one (PyYAML, MarkupSafe); psutil's fits all.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from servers.programs import HERE, group_of, lacking

NOBODY = "nobody"
_DRIVERS = ("psycopg", "psycopg-binary", "PyMySQL")  # of extras


def _works_for(user: str, python: str) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", "import sys, ssl, venv; sys.exit(sys.version_info < (3, 10))"],
            user=user,
            group=group_of(user),
            extra_groups=[],
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            timeout=20,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def python_for(user: str = NOBODY) -> str:
    """An interpreter that the user can start."""
    if os.geteuid() != 0:
        lacking(f"only root can act as {user}")
    try:
        pwd.getpwnam(user)
    except KeyError:
        lacking(f"no user {user}")
    candidates = [
        str(Path(sys.executable).resolve()),
        f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}",
        "/usr/bin/python3",
        "/usr/local/bin/python3",
    ]
    python = next((c for c in candidates if os.path.exists(c) and _works_for(user, c)), None)
    if python is None:
        lacking(f"no Python >= 3.10 that {user} can start (apt-get install python3)")
    return python


def _needed(name: str, found: dict[str, metadata.Distribution]) -> dict[str, metadata.Distribution]:
    """A distribution and all that it requires, extras aside."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    try:
        found[key] = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return found  # for another platform or version of Python
    for requirement in found[key].requires or []:
        if "extra ==" not in requirement:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            if match:
                _needed(match[0], found)
    return found


def install_for(user: str = NOBODY) -> Path:
    """The `opsdoc` command of an installation that the user can run; its folder's folder is the caller's to remove."""
    python = python_for(user)
    folder = Path(tempfile.mkdtemp(prefix="opsdoc-install-"))
    folder.chmod(0o755)
    subprocess.run(
        [python, "-m", "venv", "--without-pip", "--symlinks", str(folder)],
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    site = next(folder.glob("lib/python3*/site-packages"))
    found: dict[str, metadata.Distribution] = {}
    for name in ("opsdoc", *_DRIVERS):
        _needed(name, found)
    for key, distribution in found.items():
        for file in distribution.files or []:
            source = Path(str(distribution.locate_file(file)))
            if key == "opsdoc" or not source.is_file() or "__pycache__" in file.parts:
                continue
            to_bin = file.parts[0] == ".." and source.parent.name == "bin"
            target = folder / "bin" / source.name if to_bin else site / file
            if ".." in file.parts and not to_bin:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    package = HERE.parent.parent / "opsdoc"
    shutil.copytree(package, site / "opsdoc", ignore=shutil.ignore_patterns("__pycache__"))
    command = folder / "bin" / "opsdoc"
    command.write_text(f"#!{folder}/bin/python\nfrom opsdoc.__main__ import main\nmain()\n")
    command.chmod(0o755)
    for root, folders, files in os.walk(folder):
        for name in folders:
            (Path(root) / name).chmod(0o755)
        for name in files:
            path = Path(root) / name
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o444)
    return command

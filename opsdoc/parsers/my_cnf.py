"""Option files of MySQL and MariaDB (`~/.my.cnf`): what they say to every client, as `mysql` itself would read it."""

from __future__ import annotations

import re

GROUPS = ("client", "client-server", "client-mariadb")  # what every client of either product reads; later ones win
LONGEST = 1024  # characters of a line

_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "\\": "\\", "s": " "}


def client_options(text: str) -> dict[str, str]:
    """Options by name, `-` for `_`, of the groups that every client reads; total for any text.

    A value in quotes ends with them, a `#` after a blank begins a comment, and backslashes are as the manual has them
    ("Using Option Files"). Lines that include other files are left out.
    """
    found: dict[str, dict[str, str]] = {}
    group = ""
    for line in (line.strip()[:LONGEST] for line in text.splitlines()):
        if line.startswith("["):
            group = line.partition("]")[0][1:].strip()
        elif group in GROUPS and line and line[0] not in "#;!":
            name, equals, value = line.partition("=")
            name = name.partition("#")[0].strip().lower().replace("_", "-").removeprefix("loose-")
            found.setdefault(group, {})[name] = _value(value.strip()) if equals else ""
    return {name: value for one in GROUPS for name, value in found.get(one, {}).items()}


def _value(text: str) -> str:
    quote = text[:1]
    if quote in ("'", '"'):
        end = re.search(rf"(?<!\\){quote}", text[1:])
        text = text[1 : 1 + end.start()] if end else text[1:]
    else:
        text = re.split(r"\s#", text, maxsplit=1)[0].rstrip()
    return re.sub(r"\\([btnr\\s])", lambda escape: _ESCAPES[escape[1]], text)

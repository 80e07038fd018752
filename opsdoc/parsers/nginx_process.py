"""What an nginx tells of itself: by the titles of its processes, in its binary, in the tables of sockets.

Titles: `ngx_setproctitle.c` and `ngx_process_cycle.c` of nginx and Angie. They are no proof: any process can take one.
Options: `ngx_get_options()` and `ngx_process_options()` of `nginx.c`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from opsdoc.parsers.sockets import LISTEN, address

Role = Literal["master", "single", "worker", "cache manager", "cache loader", "privileged agent"]
LONGEST = 64 * 1024  # bytes of a title, and of the text of the configure arguments: Debian's has 1.7 KiB
PREFIX = "/usr/local/nginx"  # where ./configure puts what is told no other place


# ── titles ───────────────────────────────────────────────────────────────────────────────────────


class Title(NamedTuple):
    """The title of a process: what it does and, of a master, the words it was started with (blanks do not survive)."""

    role: Role
    shutting_down: bool = False
    words: tuple[str, ...] = ()


_TITLE = re.compile(
    rb"(?:nginx|angie): "
    rb"(?:(?P<head>master|single) process(?: v[^\[\0]{1,80} #\d{1,20} \[)?"
    rb"|(?P<role>worker|cache manager|cache loader|privileged agent) process(?P<down> is shutting down)?)"
)


def title(cmdline: bytes) -> Title | None:
    """The title in `/proc/PID/cmdline`; None where it is none of an nginx.

    Angie writes `angie: master process v1.7.0 #6 [/usr/sbin/angie -c …]`, the number being that of the reload.
    """
    text = cmdline[:LONGEST].split(b"\0", 1)[0]
    match = _TITLE.match(text)
    if match is None:
        return None
    if match["head"]:
        rest = _decoded(text[match.end() :])
        return Title("master" if match["head"] == b"master" else "single", words=tuple(rest.removesuffix("]").split()))
    return Title(_ROLES[match["role"]], match["down"] is not None)


_ROLES: dict[bytes, Role] = {
    b"worker": "worker",
    b"cache manager": "cache manager",
    b"cache loader": "cache loader",
    b"privileged agent": "privileged agent",
}


def was_cut(cmdline: bytes, stat: bytes) -> bool:
    """Whether a title may have lost its end: it has only the room that arguments and variables had.

    `stat` is `/proc/PID/stat`, whose addresses are 0 for those who may not see them: then it is taken to be whole.
    """
    fields = stat[stat.rfind(b")") + 2 :].split()
    try:
        room = int(fields[48]) - int(fields[45])  # env_end - arg_start, fields 51 and 48 of proc(5)
    except (IndexError, ValueError):
        return False
    return 0 < room <= len(cmdline.split(b"\0", 1)[0]) + 2


# ── options ──────────────────────────────────────────────────────────────────────────────────────


class Options(NamedTuple):
    """The options that an nginx was started with; `once` is for those that make it a command, no server."""

    conf: str | None = None  # -c
    prefix: str | None = None  # -p
    error_log: str | None = None  # -e
    directives: str | None = None  # -g
    once: bool = False  # -t, -T, -v, -V, -h, -s


_FLAGS = "?hvVtTq"
_VALUES = "pcges"
_OPTION = re.compile(r"-[?hvVtTqpcges]")


def options(words: Sequence[str], *, cut: bool = False) -> Options:
    """The options among the words behind the program's name.

    Titles have lost the borders of the arguments: the value of `-g` reaches to the word that ends it with `;` or `}`
    and has an option or nothing behind it, any other to the next option. Of words that were `cut` the last is not
    believed.
    """
    found: dict[str, str] = {}
    once = False
    rest = list(words[:-1] if cut else words)
    rest.reverse()
    while rest:
        word = rest.pop()
        if not word.startswith("-"):
            continue
        for at, letter in enumerate(word[1:], 2):
            if letter in _FLAGS:
                once = once or letter != "q"
            elif letter in _VALUES:
                found[letter] = _value(word[at:], rest, ends=(";", "}") if letter == "g" else ("",))
                break
            else:
                break
    conf, prefix, error_log, directives = (found.get(letter) or None for letter in "cpeg")
    return Options(conf, prefix, error_log, directives, once or "s" in found)


def _value(first: str, rest: list[str], ends: tuple[str, ...]) -> str:
    """The value that begins with `first`, or with the next word: `rest` are the words to come, the last one first."""
    parts = [first] if first else [rest.pop()] if rest else []
    while rest and not (_OPTION.match(rest[-1]) and parts[-1].endswith(ends)):
        parts.append(rest.pop())
    return " ".join(parts)


# ── the binary ───────────────────────────────────────────────────────────────────────────────────


class Build(NamedTuple):
    """What a binary says of itself."""

    version: str | None = None  # `nginx/1.22.1`, `openresty/1.21.4.1`, `Angie/1.11.0`
    core: str | None = None  # the version of nginx that it is made from
    configure: str | None = None  # its configure arguments

    @property
    def is_nginx(self) -> bool:
        return self.version is not None or self.configure is not None


# The literal stands first: so the search runs at the speed of the memory. The name before it is looked up behind.
_VERSION = re.compile(rb" version: ([A-Za-z][\w.-]{1,30}/\d{1,4}(?:\.\d{1,6}){1,4}(?: \([\w .+-]{1,60}\))?)")
_NAME = re.compile(rb"[A-Za-z][\w.-]{0,30}\Z")
_CONFIGURE = re.compile(rb"configure arguments: ([^\0\n]{0,65536})\n?\0")
_CORE = re.compile(r"(?:nginx|freenginx|openresty)/(\d+\.\d+\.\d+)")
_OVERLAP = LONGEST + 1024


def build(blocks: Iterable[bytes]) -> Build:
    """What stands in a binary, given in blocks; no more are taken than are needed. An empty Build is not of an nginx.

    Angie and Tengine print two lines, `Angie version: Angie/1.11.0` and `nginx version: nginx/1.29.3`.
    """
    says: dict[str, str] = {}
    configure: str | None = None
    tail = b""
    whole = False
    for block in blocks:
        window = tail + block
        for found in _VERSION.finditer(window):
            name = _NAME.search(window, max(0, found.start() - 32), found.start())
            if name is not None and len(says) < 8:
                says.setdefault(_decoded(name[0]).lower(), _decoded(found[1]))
        match = _CONFIGURE.search(window)
        if match is not None:
            configure = _decoded(match[1])
        if whole:  # one block more than was needed, for a second line that stands behind
            break
        whole = configure is not None and "nginx" in says
        tail = window[-_OVERLAP:]
    known = {name: says[name] for name in ("angie", "tengine", "freenginx", "nginx") if name in says}
    version = next(iter(known.values()), None) if known or configure is None else next(iter(says.values()), None)
    if version is None:
        return Build(None, None, configure)
    core = _CORE.match(says.get("nginx", version))
    return Build(version, core and core[1], configure)


_WORD = re.compile(r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+")


def arguments(configure: str) -> list[str]:
    """Configure arguments one by one, with their quotes."""
    return _WORD.findall(configure[:LONGEST])


def configured(configure: str, name: str) -> str | None:
    """The value of `--name=` among configure arguments, the last one as configure takes it; None where it is absent."""
    prefix = f"--{name}="
    words = [word for word in arguments(configure) if word.startswith(prefix)]
    return words[-1].removeprefix(prefix).strip("'\"") or None if words else None


# ── paths ────────────────────────────────────────────────────────────────────────────────────────


class Paths(NamedTuple):
    """Where an nginx finds its things. A path that is relative to an unknown folder is None."""

    prefix: str | None  # with a slash at its end
    conf: str | None
    error_log: str | None  # when no directive names one; may be `stderr`
    access_log: str | None


def paths(given: Options, made: Build, cwd: str | None = None, *, cut: bool = False) -> Paths:
    """The paths by nginx's rules: what is relative is below the prefix, a relative prefix below the working folder.

    Without configure arguments, or when the command line was cut, only what was given is known.
    """

    def compiled(name: str, otherwise: str) -> str | None:
        return None if made.configure is None or cut else configured(made.configure, name) or otherwise

    prefix = _joined(cwd, given.prefix or compiled("prefix", PREFIX))
    if prefix is not None:
        prefix = prefix.rstrip("/") + "/"
    error_log = given.error_log or compiled("error-log-path", "logs/error.log")
    return Paths(
        prefix,
        _joined(prefix, given.conf or compiled("conf-path", "conf/nginx.conf")),
        error_log if error_log == "stderr" else _joined(prefix, error_log),
        _joined(prefix, compiled("http-log-path", "logs/access.log")),
    )


def _joined(folder: str | None, path: str | None) -> str | None:
    if path is None or path.startswith("/"):
        return path
    return None if folder is None else f"{folder.rstrip('/')}/{path}"


# ── sockets ──────────────────────────────────────────────────────────────────────────────────────

_CONNECTED = re.compile(
    rb": [0-9A-F]+:[0-9A-F]{4} [0-9A-F]+:[0-9A-F]{4} (?!0A|06)[0-9A-F]{2} "  # neither LISTEN nor TIME_WAIT
    rb"[0-9A-F]{8}:[0-9A-F]{8} [0-9A-F]{2}:[0-9A-F]{8} [0-9A-F]{8} +\d{1,10} +\d+ (\d{1,20}) "
)


def connected(table: bytes) -> set[int]:
    """The inodes of the sockets in `/proc/PID/net/tcp` or `tcp6` that are connections."""
    return {int(inode) for inode in _CONNECTED.findall(table)}


def outgoing(pairs: Sequence[bytes], state: bytes, most: int) -> dict[str, int]:
    """How many connections in a state go to each remote address, the `most` frequent ones.

    `pairs` are those of `parsers.sockets.Tables`: `local remote state`. Those to a port that is listened on here came
    in: their remote end is a client.
    """
    served = {pair.partition(b" ")[0].rpartition(b":")[2] for pair in pairs if pair.endswith(LISTEN)}
    counted: Counter[bytes] = Counter()
    for pair in pairs:
        local, remote, seen = pair.split(b" ")
        if seen == state and local.rpartition(b":")[2] not in served:
            counted[remote] += 1
    return {address(remote): count for remote, count in counted.most_common(most)}


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")

"""Flags of tools that take a secret, in an argument list and in a command line within a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from opsdoc.secrets import Span, shortest, words


class Flags(NamedTuple):
    """The flags of a tool that carry a secret, each by its letter."""

    whole: str = ""  # the secret is glued to the flag or is the next argument
    glued: str = ""  # only what is glued to it: alone, the flag asks for the password
    alone: str = ""  # only the next argument: `openssl -key` is another option
    login: str = ""  # `user:password`, of which the user stays
    login_options: tuple[str, ...] = ()
    separator: str = ":"


_NO_FLAGS = Flags()
_LOGIN_FLAGS = Flags(whole="p")
_FLAGS = {
    """mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mysqlslap mysqlbinlog mysqlpump mysql_upgrade
    mariadb mariadb-dump mariadb-admin mariadb-check mariabackup xtrabackup innobackupex
    7z 7za 7zr 7zz rar unrar""": Flags(glued="p"),
    "redis-cli valkey-cli": Flags(whole="a"),
    "sshpass": Flags(whole="p"),
    "curl": Flags(whole="E", login="uU", login_options=("--user", "--proxy-user", "--cert", "--proxy-cert")),
    "ldapsearch ldapmodify ldapadd ldapdelete ldappasswd ldapwhoami ldapcompare": Flags(whole="w"),
    """mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat mongotop rabbitmqadmin
    cqlsh""": Flags(whole="p"),
    "snmpwalk snmpget snmpgetnext snmpbulkwalk snmpbulkget snmpset snmptable snmpstatus": Flags(whole="cAX"),
    "smbclient rpcclient smbget": Flags(login="U", separator="%"),
    "zip unzip ipmitool sqlcmd": Flags(whole="P"),
    "openssl": Flags(alone="kK"),
    "lftp": Flags(login="u", separator=","),
    "http https": Flags(login="a"),
    "ab": Flags(login="AP"),
    # `sshpass` runs these, and their -p is a port.
    "ssh scp sftp rsync": _NO_FLAGS,
}
TOOLS = {tool: flags for tools, flags in _FLAGS.items() for tool in tools.split()}
# Of these only `login` takes a password: `docker run -p` publishes a port.
LOGIN_TOOLS = words("docker podman nerdctl buildah skopeo helm crane oras az")
SHELLS = words("sh bash dash zsh ksh ash busybox su ssh")
# What follows these is a name and no command: `docker run --name mongo -p 27017:27017 mongo`.
NAMING_OPTIONS = words(
    """-u -U -g -h -H -l -C -n --user --group --name --host --hostname --network --net --network-alias --link --label
    --service --container --database --db --namespace"""
)
_CLUSTER = re.compile(r"-[A-Za-z#0]{2,9}\Z")
_NO_VALUE = re.compile(r"(?:--[a-z][a-z0-9-]{0,255}(?:[=\s\0\"']|\Z)|-[A-Za-z](?:[\s\0\"']|\Z))")


def is_option(word: str, at: int = 0) -> bool:
    """Here stands `--verbose` or `-v`: no value of the option before it."""
    return _NO_VALUE.match(word, at) is not None


class Command:
    """Follows a command line word by word: which tool reads the flags, and which word is its secret.

    Wrappers (sudo, env, timeout, docker exec) need no knowledge: the last tool named reads what follows.
    """

    def __init__(self) -> None:
        self.runs_shell = False
        self._flags = _NO_FLAGS
        self._may_log_in = False
        self._previous = ""
        self._due = ""  # the field of `Flags` that the next word belongs to

    def secret(self, word: str) -> Span | None:
        """The span of the word that is secret."""
        due, self._due = self._due, ""
        previous, self._previous = self._previous, word
        if due and not is_option(word):
            return _password(word, 0, self._flags.separator) if due == "login" else (0, len(word))
        if word.startswith("-"):
            return self._flag(word)
        if previous not in NAMING_OPTIONS:
            self._switch_to(word.rpartition("/")[2].lstrip("(`$"))
        return None

    def _switch_to(self, name: str) -> None:
        self.runs_shell = self.runs_shell or name in SHELLS
        if name in TOOLS:
            self._flags = TOOLS[name]
        elif name in LOGIN_TOOLS:
            self._flags, self._may_log_in = _NO_FLAGS, True
        elif name == "login" and self._may_log_in:
            self._flags = _LOGIN_FLAGS

    def _flag(self, word: str) -> Span | None:
        flags, letter = self._flags, word[1:2]
        option, equals, _ = word.partition("=")
        if equals and option in flags.login_options:
            return _password(word, len(option) + 1, flags.separator)
        if len(word) > 2 and letter in flags.whole + flags.glued:
            return 2, len(word)
        if len(word) > 2 and letter in flags.login:
            return _password(word, 2, flags.separator)
        # `curl -sSu user:…`
        ends_in_login = len(word) > 1 and word[-1] in flags.login and (len(word) == 2 or _CLUSTER.match(word))
        if ends_in_login or option in flags.login_options:
            self._due = "login"
        elif len(word) == 2 and letter in flags.whole + flags.alone:
            self._due = "whole"
        return None


def _password(word: str, start: int, separator: str) -> Span | None:
    """The password of `user:password`; of `key:` the key, for it is what logs in."""
    at = word.find(separator, start)
    if at < 0:
        return None
    return (at + 1, len(word)) if at + 1 < len(word) else (start, at)


# ── command lines in text ────────────────────────────────────────────────────────────────────────

FLAG_IN_TEXT = re.compile(r"[\s\0\"']--?[A-Za-z]", re.ASCII)
# Quotes hold a word together; between the strings of a list (`["mysql","-p…"]`) a comma ends it.
_SHELL_WORD = re.compile(
    r"(?:\"(?:[^\"\\\r\n]|\\[^\r\n])*\"|'[^'\r\n]*'|\\[^\r\n]|,(?![\"'])|[^\s\0\"'\\,]|(?<![,\s\0])[\"']|[\"'\\])+",
    re.ASCII,
)
_STRING = re.compile(r"[\[({]{0,2}([\"'])")
_COMMAND_ENDS = (";", "|", "&")
_NESTED = 3  # a command line in quotes in a command line
_WORDS_READ = 20_000


def flag_spans(text: str) -> Iterator[Span]:
    """The secrets of tools whose command lines are quoted in the text."""
    at = 0
    while flag := FLAG_IN_TEXT.search(text, at):
        start = max(text.rfind("\n", at, flag.start() + 1) + 1, at)
        end = text.find("\n", flag.end())
        at = len(text) if end < 0 else end
        line = text[start:at]
        if any(map(line.__contains__, TOOL_NEEDLES)):
            for first, last in _command_spans(line, 0, len(line), _NESTED):
                yield start + first, start + last


def _command_spans(line: str, start: int, end: int, depth: int) -> Iterator[Span]:
    command = Command()
    for found in islice(_SHELL_WORD.finditer(line, start, end), _WORDS_READ):
        first, last = _unquoted(line, *found.span())
        word = line[first:last]
        secret = command.secret(word)
        if secret:
            yield first + secret[0], first + secret[1]
        elif depth and found.start() < first and FLAG_IN_TEXT.search(word):
            yield from _command_spans(line, first, last, depth - 1)
        if word.endswith(_COMMAND_ENDS):
            command = Command()


def _unquoted(line: str, start: int, end: int) -> Span:
    opened = _STRING.match(line, start, end)
    if opened:
        close = line.rfind(opened[1], opened.end(), end)
        return opened.end(), close if close > 0 else end
    if line[end - 1] in "\"'" and line.count(line[end - 1], start, end) % 2:
        return start, end - 1  # it closes a quotation around the command
    return start, end


TOOL_NEEDLES = shortest(name for name in (*TOOLS, *LOGIN_TOOLS) if TOOLS.get(name) is not _NO_FLAGS)

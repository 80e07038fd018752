"""What secrets look like, and where they stand in a text: keys, flags of tools, tokens.

A span is where a secret begins and ends. All patterns are linear: a quantifier is bounded or ends its pattern, no
unbounded prefix comes before a keyword, and what one match has consumed is not read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import islice, pairwise
from typing import NamedTuple

Span = tuple[int, int]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────

SEGMENTS = _words(
    """pass password passwords passwd passphrase passcode pwd pw psw secret secrets token tokens apikey auth
    authorization credential credentials cred creds jwt bearer cookie session sessionid privatekey signature
    requirepass masterauth userpass dsn keytab"""
)
# Two neighbours are secret where neither is alone; people also write them as one word.
NEIGHBOURS = {
    *(f"{kind} key" for kind in _words("api access private secret account encryption license signing master shared")),
    "client secret",
    "access token",
}
GLUED = {pair.replace(" ", "") for pair in NEIGHBOURS}
SUFFIXES = ("password", "passwords", "passwd", "passphrase", "secret", "apikey", "token", "pass", "pwd")
ORDINARY_WORDS = _words("bypass compass encompass surpass trespass overpass underpass")

# What stands beside a secret and is none: where it is kept, how long it lives, what checks it. After the common ones
# come those of real command lines (kube-apiserver, SSH_AUTH_SOCK, token-agent.jar=…), units (auth.service: …) and
# places in source (Token.java:12).
HARMLESS_ENDINGS = _words(
    """file path dir policy enabled timeout ttl length type url uri name header endpoint expiry cache size count min max
    filename username hostname pathname dirname user host port address sock socket config conf location store class
    provider method mode plugin manager issuer audience algorithm version interval limit period ms seconds minutes
    hours days desktop service scope slice exception error jar java py go js ts rb rs kt scala"""
)
HARMLESS_VALUE = re.compile(
    r"(?:true|false|yes|no|on|off|none|null|enabled|disabled|[+-]?\d{1,6})\Z", re.ASCII | re.IGNORECASE
)
# `--auth-token simple` names a mode of etcd, not a token.
AUTH_MODES = _words("simple basic digest plain ldap oauth oauth2 oidc kerberos gssapi pam mtls ntlm saml")
WORKING_DIRECTORIES = _words("pwd oldpwd")

_SEGMENT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@lru_cache(maxsize=4096)
def is_sensitive(key: str) -> bool:
    """A value under this key is a secret. `-Ddb.keyStorePassword2` is db, key, store, password."""
    bare = key.removeprefix("-D")
    words = [word.lower() for word in _SEGMENT.findall(bare)]
    if not words or words[-1] in HARMLESS_ENDINGS:
        return False
    pairs = (f"{first} {second}" for first, second in pairwise(words))
    return any(map(_is_secret, words)) or not NEIGHBOURS.isdisjoint(pairs)


def _is_secret(word: str) -> bool:
    return word in SEGMENTS or word in GLUED or (word.endswith(SUFFIXES) and word not in ORDINARY_WORDS)


def is_harmless(key: str, value: str) -> bool:
    """The value of a sensitive key is a switch, a small number, a mode or the working directory."""
    bare = key.lstrip("-").lower()
    if bare in WORKING_DIRECTORIES:
        return value.startswith(("/", "~"))
    return bool(HARMLESS_VALUE.match(value)) or ("auth" in bare and value.lower() in AUTH_MODES)


# ── flags of tools ───────────────────────────────────────────────────────────────────────────────


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
LOGIN_TOOLS = _words("docker podman nerdctl buildah skopeo helm crane oras az")
SHELLS = _words("sh bash dash zsh ksh ash busybox su ssh")
# What follows these is a name and no command: `docker run --name mongo -p 27017:27017 mongo`.
NAMING_OPTIONS = _words(
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

_FLAG_IN_TEXT = re.compile(r"[\s\0\"']--?[A-Za-z]", re.ASCII)
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
    while flag := _FLAG_IN_TEXT.search(text, at):
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
        elif depth and found.start() < first and _FLAG_IN_TEXT.search(word):
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


def _shortest(names: Iterator[str]) -> tuple[str, ...]:
    """`mysql` finds `mysqldump` too."""
    kept: list[str] = []
    for name in sorted(names, key=len):
        if not any(other in name for other in kept):
            kept.append(name)
    return tuple(kept)


TOOL_NEEDLES = _shortest(name for name in (*TOOLS, *LOGIN_TOOLS) if TOOLS.get(name) is not _NO_FLAGS)

# ── keys and values in text ──────────────────────────────────────────────────────────────────────

KEYWORDS = (
    *("pass", "pw", "psw", "secret", "token", "key", "auth", "cred", "jwt", "bearer", "cookie", "session"),
    *("signature", "dsn"),
)
_KEY_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
_KEY_REACH = 128  # how far before its keyword a key may begin
# Found in lower case, because a case-insensitive search is slow. The lookahead keeps the end of the key from being
# given back letter by letter.
_PAIR = re.compile(
    rf"(?:{'|'.join(KEYWORDS)})(?=([\w.\-\[\]]{{0,64}}))\1(?:%5d)?(?P<closed>\\{{0,3}}[\"'])?"
    r"(?P<between>[ \t]{0,8}(?::=|=>|==?|:(?!:)|%3d)[ \t]{0,8}|>|,\s{0,64}(?=\\{0,3}[\"'])|[ \t\0]{1,8})",
    re.ASCII,
)
_XML_TEXT = re.compile(r"[^<\r\n]*")
_LINE = re.compile(r"[^\r\n]*")
_QUOTE = re.compile(r"(?:[bru]{1,2}(?=[\"']))?(\\{0,3}[\"'])")
_QUOTED = {
    '"': re.compile(r'(?:[^"\\\r\n]|\\[^\r\n]|"")*'),
    "'": re.compile(r"(?:[^'\\\r\n]|\\[^\r\n]|'')*"),
}
_GLUED_ON = re.compile(r"(?:[\w\\$@%^*+!~.#/=-]|[\"'](?=\w))\S*", re.ASCII)  # a shell joins 'a'b
SCHEME = r"(?:Bearer|Basic|Digest|Token|Negotiate|NTLM|ApiKey|AWS4-HMAC-SHA256)"
# A bare value goes up to a blank. After `=` another pair may follow without one: `a=1&b=2`, `a=1;b=2`.
_BARE = re.compile(
    rf"(?:{SCHEME}[ \t]{{1,8}})?(?:[^\s\0;,]|[;,](?![\s\0]|\Z))+",
    re.ASCII | re.IGNORECASE,
)
_BARE_IN_PAIRS = re.compile(
    rf"(?:{SCHEME}[ \t]{{1,8}})?"
    r"(?:[^\s\0&;,]|[&;,](?![ \t]{0,4}[\"']?[A-Za-z_][\w.\-\[\]]{0,64}[\"']?=|[\s\0]|\Z))+",
    re.ASCII | re.IGNORECASE,
)
_JSON_BARE = re.compile(r"[^\s,}\]]+")
_STRUCTURE = re.compile(r"\{[ \t]{0,8}(?:[\"'}]|[\r\n]|\Z|[\w.\-]{1,64}[=:])", re.ASCII)
_LIST = re.compile(r"\[([^\]]{0,512})\](?=[\s,;)}\]\"']|\Z)")
_YAML_BLOCK = re.compile(r"[|>][+-]?\d?[ \t]{0,8}\r?\n(?P<indent>[ \t]{1,64})([^\r\n]*(?:\r?\n(?P=indent)[^\r\n]*)*)")
_PORT_OR_TAG = re.compile(r"(?:\d{1,5}|v?\d+\.\d+[\w.-]{0,64}|latest)(?=[/?#:,;)\]}\"'\s]|\Z)", re.ASCII)
_VERSION = re.compile(r"\d[\w.]{0,32}(?=[\s,;\"')\]]|\Z)", re.ASCII)
_HEADERS = ("authorization", "cookie")
_DIRECTIVES = _words("requirepass masterauth")  # redis.conf has no separator
_MARGIN = " \t>*#+|-"  # of a line in YAML, in a trace of `curl -v`, in a quotation
_MARGIN_REACH = 32
_CLOSERS = {")": "(", "]": "[", "}": "{", ">": "<", '"': '"', "'": "'"}
_CLOSER_REACH = 256
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def lower_case(text: str) -> str:
    """Lower case without a change of length, which a few letters would bring."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text.translate(_ASCII_LOWER)


def key_spans(text: str, lower: str) -> Iterator[Span]:
    """The values of sensitive keys, from left to right."""
    at = 0
    while found := _PAIR.search(lower, at):
        at = found.end()
        span = _Pair(text, found).secret()
        if span:
            yield span
            at = max(at, span[1])


class _Pair:
    """A word that may be the key of a secret, and what stands around it."""

    def __init__(self, text: str, found: re.Match[str]) -> None:
        keyword, key_end = found.start(), found.start("closed" if found["closed"] else "between")
        near = text[max(0, keyword - _KEY_REACH) : keyword]
        self.text = text
        self.start = keyword - len(near) + len(near.rstrip(_KEY_CHARS))
        self.key = text[self.start : key_end]
        self.closed = bool(found["closed"])
        self.between = found["between"]
        self.value = found.end()
        self.before = text[self.start - 1 : self.start]

    def secret(self) -> Span | None:
        """The span of the value, if the key is sensitive and has one."""
        if not is_sensitive(self.key) or not self._binds():
            return None
        start, end = self._opened() or self._plain()
        value = self.text[start:end].strip()
        return (start, end) if value and not is_harmless(self.key, value) else None

    def _binds(self) -> bool:
        text, at, sign = self.text, self.value, self.between.strip(" \t\r\n\0")
        if not sign:
            return self._binds_by_blank()
        if sign == ">":
            return self.before == "<"
        if sign == ",":  # `["--password", "…"]`
            return self.closed and self.key.startswith("-") and not is_option(text, at + 1)
        if self.between == ":" and not self.closed:  # `/auth:1.2` is an image, `auth:8080/` a host
            return self.before != "/" and not _PORT_OR_TAG.match(text, at)
        return sign != "==" or not _VERSION.match(text, at)  # `token==1.2` is a requirement of pip

    def _binds_by_blank(self) -> bool:
        if self.key.startswith("-"):
            return not is_option(self.text, self.value)
        quoted = self.text[self.value : self.value + 1] in _QUOTED  # SQL: PASSWORD 'x'
        return self.key.lower() in _DIRECTIVES or (quoted and self.key.lower() == "password")

    def _opened(self) -> Span | None:
        """The value, if a sign of its own opens it."""
        text, at = self.text, self.value
        if self.between == ">":
            return at, _end(_XML_TEXT, text, at)
        if quote := _QUOTE.match(text, at):
            return self._quoted(quote)
        if _STRUCTURE.match(text, at):
            return at, at  # its keys speak for themselves
        if items := _LIST.match(text, at):
            return items.span(1)
        block = _YAML_BLOCK.match(text, at)
        return block.span(2) if block else None

    def _quoted(self, quote: re.Match[str]) -> Span:
        text, start, mark = self.text, quote.end(), quote[1]
        if len(mark) > 1:  # JSON in a string: \"password\": \"…\"
            line_end = _end(_LINE, text, start)
            end = text.find(mark, start, line_end)
            return start, line_end if end < 0 else end
        end = _end(_QUOTED[mark], text, start)
        glued = None if self.closed else _GLUED_ON.match(text, end + 1)
        return (quote.start(), glued.end()) if glued else (start, end)

    def _plain(self) -> Span:
        text, at = self.text, self.value
        if self.closed:
            return at, _end(_JSON_BARE, text, at)
        if self.before in _QUOTED:  # "X-Api-Key: …"
            return at, _end(_QUOTED[self.before], text, at)
        if self._reaches_line_end():
            return at, _end(_LINE, text, at)
        pairs = self.between.strip() in ("=", "==", ":=", "%3d")
        return at, self._without_closers(at, _end(_BARE_IN_PAIRS if pairs else _BARE, text, at))

    def _reaches_line_end(self) -> bool:
        colon = ":" in self.between
        if colon and self.key.lower().endswith(_HEADERS):
            return True
        if self.key.startswith("-") or not self._starts_line():
            return False
        if colon or self.between != self.between.strip():
            return True
        # `password=two words` in a properties file, but `PASSWORD=x program` and `password=x host=y`
        return not self.key.isupper() and "=" not in self.text[self.value : _end(_LINE, self.text, self.value)]

    def _starts_line(self) -> bool:
        near = self.text[max(0, self.start - _MARGIN_REACH) : self.start].rstrip(_MARGIN)
        return near.endswith(("\n", "\r")) if near else self.start <= _MARGIN_REACH

    def _without_closers(self, start: int, end: int) -> int:
        """A bracket or quote that was opened before the key is not part of the value."""
        near = self.text[max(0, self.start - _CLOSER_REACH) : self.start]
        while end > start and (opener := _CLOSERS.get(self.text[end - 1])) and opener in near:
            end -= 1
        return end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


# ── values known by their looks ──────────────────────────────────────────────────────────────────


class Shape(NamedTuple):
    """A secret that needs no key: `pattern` finds it as group `secret`, in texts that hold `needle` (lower case)."""

    rule: str
    needle: str
    pattern: str

    def spans(self, text: str) -> Iterator[Span]:
        """Where the text holds such secrets; a branch of the pattern without the group only consumes."""
        return (found.span("secret") for found in _compiled(self.pattern).finditer(text))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when first needed: all of them together would be felt at every start."""
    return re.compile(pattern, re.ASCII)


def _token(prefix: str, rest: str) -> Shape:
    return Shape("token-prefix", prefix.lower(), rf"(?<![A-Za-z0-9])(?P<secret>{re.escape(prefix)}{rest})")


def _webhook(needle: str) -> Shape:
    return Shape("webhook-url", needle, rf"(?i){re.escape(needle)}(?P<secret>[^\s\"'<>\0]+)")


# These hold blanks or signs of pairs, so they come before the keys.
FRAMED_SHAPES = (
    Shape(
        "private-key",
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?P<secret>"
        r"[^-]{1,20000}(?:-(?!----)[^-]{0,256}){0,64}(?=-----END)"
        # Where the end was cut off, only what looks like base64 belongs to the key.
        r"|(?:(?:\s|\\[nr]){0,8}[A-Za-z0-9+/=]{20,})*(?:\s|\\[nr]){0,8}[A-Za-z0-9+/=]+)",
    ),
    # The password may hold @, : and /, but `host:8080/path@2` is a port.
    Shape(
        "url-user-info",
        "@",
        r"://[^\s:/?#\"'<>\0]{0,256}:(?!\d{2,5}(?:[/?#,\s\"'<>\0]|\Z))"
        # A query that has names ends it; everything else that stands before an @ may belong to it.
        r"(?P<secret>(?:(?!://|\?[\w.\-]{1,64}=)[^\s\"'\0]){1,2048}(?=@)|[^\s\0]{1,128}(?=@))",
    ),
    Shape("url-user-info", "@", r"https?://(?P<secret>(?=[^\s/@]{0,64}\d)[\w.~%-]{16,255})(?=@)"),
    Shape("url-user-info", "jdbc:oracle", r"jdbc:oracle:\w{1,16}:[^\s/@\"']{1,64}/(?P<secret>[^\s@\"']{1,256})(?=@)"),
    _webhook("hooks.slack.com/services/"),
    _webhook("hooks.slack.com/workflows/"),
    _webhook("hooks.slack.com/triggers/"),
    _webhook("discord.com/api/webhooks/"),
    _webhook("discordapp.com/api/webhooks/"),
    _webhook("webhook.office.com/"),
)
# These come after the keys, so that `token=…` counts once.
BARE_SHAPES = (
    Shape(
        "auth-scheme",
        "bearer",
        r"(?i)\bBearer[ \t]{1,8}(?!(?:tokens?|auth\w{0,16}|header|scheme|realm|error|is|was|not|and|or|of|for|the)\b)"
        r"(?P<secret>[^\s\"'<>,;\0]+)",
    ),
    # `Basic Authentication` is prose; the value of the scheme is base64 and hardly ever a plain word.
    Shape("auth-scheme", "basic", r"\bBasic[ \t]{1,8}(?![A-Z]?[a-z]*(?![\w+/=-]))(?P<secret>[\w+/=-]{5,})"),
    # The last branch consumes a run that is no JWT, so that it is read once.
    Shape("jwt", "eyj", r"(?P<secret>eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*){0,3}|eyJ[\w-]{40,})|eyJ[\w-]*"),
    *(_token(f"A{kind}", r"[0-9A-Z]{12,}") for kind in ("KIA", "SIA")),  # AWS
    *(_token(f"gh{kind}_", r"[A-Za-z0-9]{16,}") for kind in "pousr"),  # GitHub
    _token("github_pat_", r"\w{16,}"),
    *(_token(f"gl{kind}-", r"[\w-]{16,}") for kind in ("pat", "dt", "rt", "ptt", "ft", "soat", "agent", "cbt", "oas")),
    _token("xox", r"[a-z]-[\w-]{8,}"),  # Slack
    _token("xapp-", r"[\w-]{8,}"),
    *(_token(f"{kind}k_{use}_", r"[A-Za-z0-9]{8,}") for kind in "sr" for use in ("live", "test")),  # Stripe
    _token("whsec_", r"[\w+/=]{16,}"),
    _token("AIza", r"[\w-]{30,}"),  # Google
    _token("ya29.", r"[\w-]{16,}"),
    _token("npm_", r"[A-Za-z0-9]{30,}"),
    _token("pypi-", r"\w{16}[\w-]*"),
    _token("dckr_pat_", r"[\w-]{16,}"),
    *(_token(f"hv{kind}.", r"[\w-]{16,}") for kind in "sbr"),  # Vault
    _token("SG.", r"[\w-]{16,64}\.[\w-]{16,}"),  # SendGrid
    _token("glsa_", r"\w{20,}"),  # Grafana
    _token("dop_v1_", r"[0-9a-f]{32,}"),  # DigitalOcean
    _token("shp", r"(?:at|ca|pa|ss)_[0-9a-fA-F]{16,}"),  # Shopify
    _token("sk-", r"(?:ant-|proj-)?\w{20}[\w-]*"),  # Anthropic, OpenAI
    _token("hf_", r"[A-Za-z0-9]{30,}"),  # Hugging Face
    _token("AGE-SECRET-KEY-", r"1[0-9A-Z]{20,}"),
    # In a query string these are credentials, elsewhere words of every cache and log.
    Shape("query-string", "key=", r"(?i)[?&]key=(?P<secret>[^\s&#\"'<>\0]{16,})"),
    Shape("query-string", "code=", r"(?i)[?&]code=(?P<secret>[^\s&#\"'<>\0]{16,})"),
    Shape("query-string", "sig=", r"(?i)[?&]sig=(?P<secret>[^\s&#\"'<>\0]+)"),
    Shape("sql", "identified", r"(?i)\bIDENTIFIED\b[^'\"\r\n;]{1,64}['\"](?P<secret>[^'\"\r\n]+)"),
)
NEEDLES = tuple(dict.fromkeys(shape.needle for shape in (*FRAMED_SHAPES, *BARE_SHAPES)))
_HINTS = _shortest(iter({*KEYWORDS, *NEEDLES}))


def may_hold_secrets(lower: str) -> bool:
    """A cheap look at a text in lower case: most hold nothing that could belong to a secret."""
    if any(map(lower.__contains__, _HINTS)):
        return True
    return _FLAG_IN_TEXT.search(lower) is not None and any(map(lower.__contains__, TOOL_NEEDLES))

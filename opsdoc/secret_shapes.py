"""What secrets look like: the words of their keys, the flags of the tools that take them, the prefixes of tokens."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

# ── keys ─────────────────────────────────────────────────────────────────────────────────────────

SEGMENTS = frozenset(
    """pass password passwords passwd passphrase passcode pwd pw psw secret secrets token tokens apikey auth
    authorization credential credentials cred creds jwt bearer cookie session sessionid privatekey signature sig
    requirepass masterauth userpass dsn keytab""".split()
)
# Two neighbours make a secret that neither is alone; people also write them as one word.
NEIGHBOURS = frozenset(
    [
        *[
            f"{kind} key"
            for kind in "api access private secret account encryption license signing master shared".split()
        ],
        "client secret",
        "access token",
    ]
)
GLUED = frozenset(pair.replace(" ", "") for pair in NEIGHBOURS)
SUFFIXES = ("password", "passwords", "passwd", "passphrase", "secret", "apikey", "token", "pass", "pwd")
ORDINARY_WORDS = frozenset("bypass compass encompass surpass trespass overpass underpass".split())

# What stands beside a secret and is none: where it is stored, how long it lives, what checks it. The first two lines
# are the rule; the others come from real command lines (jmxremote, kube-apiserver, SSH_AUTH_SOCK, token-agent.jar=…),
# unit names and source locations (auth.service:, Token.java:12).
HARMLESS_ENDINGS = frozenset(
    """file path dir policy enabled timeout ttl length type url uri name header endpoint expiry cache size count min max
    filename username hostname pathname dirname
    user host port address sock socket config conf location store class provider method mode plugin manager issuer
    audience algorithm version interval limit period ms seconds minutes hours days desktop
    service scope slice exception error jar java py go js ts rb rs kt scala""".split()
)
HARMLESS_VALUE = re.compile(r"(?:true|false|yes|no|on|off|none|null|enabled|disabled|[+-]?\d{1,6})\Z", re.I)
# `--auth-token simple` names a mode, not a token.
AUTH_MODES = frozenset("simple basic digest plain ldap oauth oauth2 oidc kerberos gssapi pam mtls ntlm saml".split())

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SHELL_DIRECTORIES = frozenset({"pwd", "oldpwd"})


def _segments(key: str) -> list[str]:
    """`-Ddb.keyStorePassword2` is db, key, store, password."""
    bare = key.lstrip("-")
    if key.startswith("-D"):
        bare = bare[1:]
    return [word.lower() for word in _WORD.findall(bare)]


@lru_cache(maxsize=4096)
def is_sensitive(key: str) -> bool:
    """Does a value under this key have to be kept secret?"""
    words = _segments(key)
    if not words or words[-1] in HARMLESS_ENDINGS:
        return False
    return any(map(_is_secret_word, words)) or any(f"{a} {b}" in NEIGHBOURS for a, b in zip(words, words[1:]))


def _is_secret_word(word: str) -> bool:
    return word in SEGMENTS or word in GLUED or (word.endswith(SUFFIXES) and word not in ORDINARY_WORDS)


def is_harmless(key: str, value: str) -> bool:
    """Is the value of a sensitive key a switch, a small number, a mode or the working directory?"""
    bare = key.lstrip("-").lower()
    if bare in _SHELL_DIRECTORIES:
        return value.startswith(("/", "~"))
    return bool(HARMLESS_VALUE.match(value)) or ("auth" in bare and value.lower() in AUTH_MODES)


# ── short flags ──────────────────────────────────────────────────────────────────────────────────


class Flags(NamedTuple):
    """The flags of a tool that carry a secret, each by its letter."""

    whole: str = ""  # the secret is glued to the flag or is the next argument
    glued: str = ""  # only what is glued to it: alone, the flag asks for the password
    alone: str = ""  # only the next argument: `openssl -key` is another option
    login: str = ""  # `user:password`, of which the user stays
    login_options: tuple[str, ...] = ()
    separator: str = ":"


NO_FLAGS = Flags()
LOGIN_FLAGS = Flags(whole="p")

_TOOLS_BY_FLAGS = {
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
    "ssh scp sftp rsync": NO_FLAGS,
}
TOOLS = {tool: flags for tools, flags in _TOOLS_BY_FLAGS.items() for tool in tools.split()}
# Of these only `login` takes a password: `docker run -p` publishes a port.
LOGIN_TOOLS = frozenset("docker podman nerdctl buildah skopeo helm crane oras az".split())
SHELLS = frozenset("sh bash dash zsh ksh ash busybox su ssh".split())
# What follows these is a name and no command: `docker run --name mongo -p 27017:27017 mongo`.
NAMING_OPTIONS = frozenset(
    """-u -U -g -h -H -l -C -n --user --group --name --host --hostname --network --net --network-alias --link --label
    --service --container --database --db --namespace""".split()
)

# ── values ───────────────────────────────────────────────────────────────────────────────────────

SCHEME = r"(?:Bearer|Basic|Digest|Token|Negotiate|NTLM|ApiKey|AWS4-HMAC-SHA256)"


class Shape(NamedTuple):
    """A secret that is known by its looks: `pattern` finds it as group `secret`, `needle` says where to bother."""

    rule: str
    needle: str  # in lower case
    pattern: re.Pattern[str]


def _shape(rule: str, needle: str, pattern: str, flags: re.RegexFlag = re.RegexFlag(0)) -> Shape:
    return Shape(rule, needle, re.compile(pattern, re.ASCII | flags))


def _token(needle: str, pattern: str) -> Shape:
    return _shape("token-prefix", needle, rf"(?<![A-Za-z0-9])(?P<secret>{pattern})")


def _webhook(needle: str) -> Shape:
    return _shape("webhook-url", needle, re.escape(needle) + r"(?P<secret>[^\s\"'<>\0]+)", re.IGNORECASE)


# A quantifier is bounded, or it ends its pattern: nothing is read twice.
SHAPES = (
    _shape(
        "private-key",
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?P<secret>"
        r"[^-]{1,20000}(?:-(?!----)[^-]{0,256}){0,64}(?=-----END)"
        # Where the end was cut off, only what looks like base64 belongs to the key.
        r"|(?:(?:\s|\\[nr]){0,8}[A-Za-z0-9+/=]{20,})*(?:\s|\\[nr]){0,8}[A-Za-z0-9+/=]+)",
    ),
    # The password may hold @, : and /. `host:8080/path@2` is a port.
    _shape(
        "url-user-info",
        "://",
        r"://[^\s:/?#\"'<>\0]{0,256}:(?!\d{2,5}(?:[/?#,\s\"'<>\0]|\Z))"
        r"(?P<secret>(?:(?!://)[^\s\"'<>?#\0]){1,2048}(?=@)|[^\s\0]{1,512}(?=@))",
    ),
    _shape("url-user-info", "://", r"https?://(?P<secret>(?=[^\s/@]{0,64}\d)[\w.~%-]{16,255})(?=@)"),
    _shape("url-user-info", "jdbc:oracle", r"jdbc:oracle:\w{1,16}:[^\s/@\"']{1,64}/(?P<secret>[^\s@\"']{1,256})(?=@)"),
    _webhook("hooks.slack.com/services/"),
    _webhook("hooks.slack.com/workflows/"),
    _webhook("hooks.slack.com/triggers/"),
    _webhook("discord.com/api/webhooks/"),
    _webhook("discordapp.com/api/webhooks/"),
    _webhook("webhook.office.com/"),
)
# These come after the pairs, so that `token=…` counts once.
BARE_SHAPES = (
    _shape(
        "auth-scheme",
        "bearer",
        r"\bBearer[ \t]{1,8}(?!(?:tokens?|auth\w{0,16}|header|scheme|realm|error|is|was|not|and|or|of|for|the)\b)"
        r"(?P<secret>[^\s\"'<>,;\0]+)",
        re.IGNORECASE,
    ),
    # `Basic Authentication` is prose; the value of the scheme is base64 and hardly ever a plain word.
    _shape("auth-scheme", "basic", r"\bBasic[ \t]{1,8}(?![A-Z]?[a-z]*(?![\w+/=-]))(?P<secret>[\w+/=-]{5,})"),
    # The second branch eats a run that is no JWT, so that it is read once.
    _shape("jwt", "eyj", r"(?P<secret>eyJ[\w-]{5,}(?:\.[\w-]{5,}(?:\.[\w-]*){0,3})|eyJ[\w-]{40,})|eyJ[\w-]*"),
    _token("akia", r"AKIA[0-9A-Z]{12,}"),
    _token("asia", r"ASIA[0-9A-Z]{12,}"),
    _token("gh", r"gh[pousr]_[A-Za-z0-9]{16,}"),
    _token("github_pat_", r"github_pat_\w{16,}"),
    _token("gl", r"gl(?:pat|dt|rt|ptt|ft|soat|agent|cbt|imt|oas)-[\w-]{16,}"),
    _token("glsa_", r"glsa_\w{20,}"),  # Grafana
    _token("xox", r"xox[a-z]-[\w-]{8,}"),  # Slack
    _token("xapp-", r"xapp-[\w-]{8,}"),
    _token("k_live_", r"[srp]k_live_[A-Za-z0-9]{8,}"),  # Stripe
    _token("k_test_", r"[srp]k_test_[A-Za-z0-9]{8,}"),
    _token("whsec_", r"whsec_[\w+/=]{16,}"),
    _token("aiza", r"AIza[\w-]{30,}"),  # Google
    _token("ya29.", r"ya29\.[\w-]{16,}"),
    _token("npm_", r"npm_[A-Za-z0-9]{30,}"),
    _token("pypi-", r"pypi-\w{16}[\w-]*"),
    _token("dckr_pat_", r"dckr_pat_[\w-]{16,}"),
    _token("hv", r"hv[sbr]\.[\w-]{16,}"),  # Vault
    _token("sg.", r"SG\.[\w-]{16,64}\.[\w-]{16,}"),  # SendGrid
    _token("dop_v1_", r"dop_v1_[0-9a-f]{32,}"),  # DigitalOcean
    _token("shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{16,}"),  # Shopify
    _token("sk-", r"sk-(?:ant-|proj-)?\w{20}[\w-]*"),  # Anthropic, OpenAI
    _token("hf_", r"hf_[A-Za-z0-9]{30,}"),
    _token("age-secret-key-", r"AGE-SECRET-KEY-1[0-9A-Z]{20,}"),
    # `key` alone is a word of every cache; as a long value in a query string it is a credential.
    _shape("query-string", "key=", r"[?&]key=(?P<secret>[^\s&#\"'<>\0]{16,})", re.IGNORECASE),
    _shape("query-string", "code=", r"[?&]code=(?P<secret>[^\s&#\"'<>\0]{16,})", re.IGNORECASE),
    _shape("sql", "identified", r"\bIDENTIFIED\b[^'\"\r\n;]{1,64}['\"](?P<secret>[^'\"\r\n]+)", re.IGNORECASE),
)
NEEDLES = tuple(dict.fromkeys(shape.needle for shape in (*SHAPES, *BARE_SHAPES)))

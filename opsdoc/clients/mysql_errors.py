"""Errors of MySQL and MariaDB servers, and of PyMySQL, by what they mean and what to do about each."""

from __future__ import annotations

import sys
from collections.abc import Callable

from opsdoc.clients.sql import Refusal
from opsdoc.model import Denied, Malformed, ProbeError, Unreachable, Unsupported

# Numbers are those of "Server Error Message Reference" and "MariaDB Error Code Reference".
NOT_NOW = {1040, 1203, 1226, 3032}  # too many connections: of all, of a user, by its limit; the server is offline
ENDING = {1053, 1077, 1079, 1152, 1184, 1927}  # the server stops, or ended our session
LOST = {0, 2006, 2013, 2055}  # of PyMySQL: the connection is gone
UNKNOWN_SETTING = 1193

_CHECK_LOGIN = "check --user and the password (--password-env, --password-file, or ~/.my.cnf)"
_REFUSALS: dict[int, tuple[type[ProbeError], str, str]] = {
    1044: (Denied, "lets this user not into that database", "leave the database out of the DSN"),
    1045: (Denied, "does not accept user and password", _CHECK_LOGIN),
    1049: (Unreachable, "has no such database", "leave the database out of the DSN"),
    1129: (
        Denied,
        "has blocked this machine after too many broken connections",
        "on the server: FLUSH HOSTS, or in MySQL 8: TRUNCATE TABLE performance_schema.host_cache",
    ),
    1130: (Denied, "takes no connections from this machine", "on the server: CREATE USER opsdoc@'THIS MACHINE' …"),
    1251: (Unsupported, "wants a way to log in that the driver does not know", "give the user another plugin"),
    1275: (Unsupported, "has a password of a form before 4.1 for this user", "on the server: ALTER USER …"),
    1524: (Unsupported, "has not loaded the plugin that this user logs in with", "on the server: SHOW PLUGINS"),
    1698: (Denied, "does not accept user and password", f"{_CHECK_LOGIN}; a unix socket may need sudo"),
    1820: (Denied, "wants a new password for this user first", "on the server: ALTER USER … IDENTIFIED BY …"),
    1862: (Denied, "says that this user's password has expired", "on the server: ALTER USER … IDENTIFIED BY …"),
    3118: (Denied, "has locked this account", "on the server: ALTER USER … ACCOUNT UNLOCK"),
    3159: (Unsupported, "takes connections over TLS only", "leave ssl-mode=DISABLED out, or name --tls-ca FILE"),
    4151: (Denied, "has locked this account", "on the server: ALTER USER … ACCOUNT UNLOCK"),
    2059: (Unsupported, "wants a way to log in that the driver does not know", "give the user another plugin"),
}


def pip(what: str) -> str:
    """The command that installs something where opsdoc runs."""
    return f"{sys.executable} -m pip install {what}"


def not_let_in(address: str, number: int, text: str, mask: Callable[[str], str], *, tls: bool) -> ProbeError | Refusal:
    """What it means that a server let us in not: a Refusal where it is there but full or busy with itself."""
    if number in NOT_NOW or number in ENDING:
        return Refusal(str(number), mask(text))
    kind, what, hint = _REFUSALS.get(number, (Unreachable, "lets us in not", ""))
    if number == 1045 and not tls:
        hint += "; who wants TLS refuses a plain connection in the same words"
    return kind(f"{address} {what} ({number}: {mask(text)})", hint)


def without_driver() -> Unsupported:
    """PyMySQL is not installed."""
    return Unsupported("PyMySQL, the driver for MySQL and MariaDB, is not installed", pip("'opsdoc[mysql]'"))


def by_driver(address: str, error: Exception) -> ProbeError:
    """What an error of the driver that is none of the server means, while logging in."""
    import ssl

    cause = getattr(error, "original_exception", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = "name the authority that signed it: --tls-ca FILE"
        return Unreachable(f"{address}: its certificate is not trusted: {cause.verify_message}", hint)
    if isinstance(cause, ssl.SSLError):
        return Unreachable(f"{address}: no TLS with it: {cause.reason or cause}", "try ssl-mode=DISABLED in the DSN")
    if isinstance(cause, RuntimeError) and "cryptography" in str(cause):
        hint = f"use TLS, or install what encrypts a password without it: {pip('cryptography')}"
        return Unsupported(f"{address} wants a password by caching_sha2_password over a plain connection", hint)
    if isinstance(cause, OSError):
        return Unreachable(f"{address}: {cause.strerror or cause}")
    if getattr(error, "args", (0,))[:1] and error.args[0] in LOST:
        return Unreachable(f"{address} closes the connection while we log in", "look into its error log")
    return Malformed(f"{address} answers what the driver does not understand ({type(error).__name__})")

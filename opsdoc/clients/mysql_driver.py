"""PyMySQL, driven so that it dials nobody by itself, tells no password to whom it should not, and makes JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from opsdoc.clients import Live
from opsdoc.clients.mysql_dial import host_of
from opsdoc.clients.mysql_errors import ENDING, LOST, UNKNOWN_SETTING, without_driver
from opsdoc.clients.mysql_target import Place
from opsdoc.clients.sql import MOST_ROWS, STATEMENT, Refusal
from opsdoc.model import Malformed
from opsdoc.parsers.sql_text import masked, masked_error

Connection = Any  # of PyMySQL, which has no types

TEXT = 400  # characters of a statement that are kept
IDLE = 600  # seconds after which the server ends a session of ours that was left behind

_SETTINGS = {"lock_wait_timeout": 1, "innodb_lock_wait_timeout": 1, "wait_timeout": IDLE, "autocommit": 1}
_OF_MARIADB = {**_SETTINGS, "max_statement_time": int(STATEMENT), "tx_read_only": 1}
_OF_MYSQL = {**_SETTINGS, "max_execution_time": int(STATEMENT * 1000), "transaction_read_only": 1}
_CLEAR_TEXT = ("mysql_clear_password", "dialog")  # ways to log in that send the password as it is
# Columns whose text holds values of other people: statements, and errors that quote statements and rows.
_STATEMENTS = frozenset(("statement", "info", "digest_text", "trx_query"))
_ERRORS = frozenset(("last_error", "last_io_error", "last_sql_error", "last_error_message"))


class Lost(Exception):
    """The connection is gone; the text is the driver's."""


class ClearText(Exception):
    """The server asks for the password as it is."""


def check() -> None:
    """Raise Unsupported where the driver is not installed."""
    try:
        import pymysql  # noqa: F401
    except ImportError:
        raise without_driver() from None


def unconnected(place: Place, tls: Any) -> tuple[Connection, type[Exception]]:
    """A connection of the driver's that dials nobody, and the class of its errors."""
    import pymysql
    from pymysql.connections import Connection as Base

    class Ours(Base):  # type: ignore[misc] # it has no types
        _secure = place.address.startswith("unix:")  # a password may be said over it

        def set_character_set(self, charset: str, collation: str | None = None) -> None:
            """Nothing: `prepare` says it, together with the rest."""

    class Refusing:
        def __init__(self, connection: object) -> None:
            pass

        def authenticate(self, _packet: object) -> None:
            raise ClearText

    trusted = place.address.startswith("unix:") or (tls is not None and place.tls.startswith("verify"))
    made = Ours(
        host=host_of(place.address),
        user=place.user,
        password=place.password.encode("utf-8", "surrogateescape"),
        database=place.database,
        charset="utf8mb4",
        use_unicode=False,
        conv=_converters(),
        program_name="opsdoc",
        autocommit=None,
        ssl=tls,
        ssl_disabled=tls is None,
        auth_plugin_map={} if trusted else dict.fromkeys(_CLEAR_TEXT, Refusing),
        defer_connect=True,
    )
    return made, pymysql.err.MySQLError


def prepare(connection: Connection) -> int:
    """Make the session one that cannot write and does not wait; what an old server does not know is left out.

    Returns how many statements that took.
    """
    import pymysql

    settings = _OF_MARIADB if "MariaDB" in connection.get_server_info() else _OF_MYSQL
    words = [f"SESSION {name} = {value}" for name, value in settings.items()]
    cursor = connection.cursor()
    try:
        cursor.execute(f"SET NAMES utf8mb4, {', '.join(words)}")
    except pymysql.err.MySQLError as error:
        if number_of(error) != UNKNOWN_SETTING:
            raise
    else:
        return 1
    for text in ("NAMES utf8mb4", *words):
        with contextlib.suppress(pymysql.err.MySQLError):
            cursor.execute(f"SET {text}")
    cursor.execute("SET SESSION TRANSACTION READ ONLY")
    return len(words) + 3


def answer(connection: Connection, text: str, live: Live) -> list[dict[str, Any]] | Refusal:
    """The rows of a statement, or why the server refused it. Raises Lost."""
    import pymysql

    try:
        cursor = connection.cursor()
        cursor.execute(f"/* opsdoc */ {text.strip()}")
        rows = cursor.fetchmany(MOST_ROWS)
        names = [str(column[0]) for column in cursor.description or ()]
    except pymysql.err.MySQLError as error:
        number = number_of(error)
        if number in LOST or number in ENDING or number < 1000:
            raise Lost(live.redactor.text(text_of(error))) from None
        return Refusal(str(number), live.redactor.text(masked_error(text_of(error))))
    except OSError as error:
        raise Lost(live.redactor.text(str(error))) from None
    except Exception as error:  # noqa: BLE001 - a hostile server makes the driver raise anything
        raise Malformed(f"the server answers what the driver does not understand ({type(error).__name__})") from None
    mask = live.redactor.text
    return [{name: _shown(name, value, mask) for name, value in zip(names, row, strict=False)} for row in rows]


def _shown(name: str, value: object, mask: Callable[[str], str]) -> Any:
    """A value as JSON, without what it may hold of other people's data."""
    if not isinstance(value, str):
        return value
    if name.lower() in _STATEMENTS:
        return mask(masked(value, TEXT))
    return mask(masked_error(value) if name.lower() in _ERRORS else value)


def _converters() -> dict[Any, Callable[[bytes], Any]]:
    """How the bytes of each type of column become JSON; times stay the text that the server writes."""
    from pymysql.constants import FIELD_TYPE as OF

    whole = (OF.TINY, OF.SHORT, OF.LONG, OF.LONGLONG, OF.INT24, OF.YEAR)
    real = (OF.FLOAT, OF.DOUBLE, OF.DECIMAL, OF.NEWDECIMAL)
    return {
        **dict.fromkeys(range(256), lambda data: data.decode("utf-8", "backslashreplace")),
        **dict.fromkeys(whole, int),
        **dict.fromkeys(real, float),
    }


def version_of(connection: Connection) -> str:
    """As the server greets; MariaDB puts a version before its own that old replicas expect."""
    return str(connection.get_server_info()).removeprefix("5.5.5-")


def number_of(error: BaseException) -> int:
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def text_of(error: BaseException) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)

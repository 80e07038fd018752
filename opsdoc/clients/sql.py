"""What the clients of SQL databases share: statements that are sent together, and what comes back, without drivers."""

from __future__ import annotations

from typing import Any, NamedTuple

WITHIN = 3.0  # seconds for all answers to a question: they take milliseconds, so that who takes longer is sick
STATEMENT = 2.0  # seconds that one statement may take on the server
LOCK = 0.2  # seconds that one statement may wait for a lock there
MOST_ROWS = 2_000  # of one answer


class Statement(NamedTuple):
    """A statement of ours and the name that recordings know it by. Its text holds no value of anybody's."""

    name: str
    sql: str


class Refusal(NamedTuple):
    """An error of the server: its SQLSTATE or number as text, and its words, masked."""

    code: str
    text: str


class Said(NamedTuple):
    """What a server said: rows by the statement's name, or the refusal of it.

    `refused` is why it let us in not at all although it is there: all connections used, or starting, or stopping.
    """

    rows: dict[str, list[dict[str, Any]]]
    errors: dict[str, Refusal]
    refused: Refusal | None = None


def plain(said: Said) -> dict[str, Any]:
    """The same as JSON, which is the answer to a question and what a recording keeps."""
    return {
        "rows": said.rows,
        "errors": {name: list(error) for name, error in said.errors.items()},
        "refused": None if said.refused is None else list(said.refused),
    }


def said(value: dict[str, Any]) -> Said:
    """What an answer held."""
    refused = value["refused"]
    errors = {name: Refusal(*error) for name, error in value["errors"].items()}
    return Said(value["rows"], errors, None if refused is None else Refusal(*refused))

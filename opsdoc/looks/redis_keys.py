"""The biggest keys of Redis nodes, from the samples that were taken, and how much of all keys those are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opsdoc.host import Answer
from opsdoc.looks.redis_node import Node
from opsdoc.model import Observation, ProbeError, Total, Unknown, Unseen
from opsdoc.signals.cache_facts import BigKey, KeySample

_HARMLESS = re.compile(r"[\w.:{}/@-]{1,200}", re.ASCII)  # a key that a shell and a person read as it is


def key_items(nodes: Sequence[Node], rows: int) -> Iterator[Observation | Unseen | Total]:
    """The biggest keys of all nodes (`rows` of them, 0 for all that are known), and what was looked at for them."""
    found: list[BigKey] = []
    for node in nodes:
        match node.sample:
            case Answer(value=dict() as value):
                found += [_big_key(node, one) for one in value["keys"]]
                yield _sample(node, value)
                if value["error"]:
                    yield _refused(node, value)
            case ProbeError() as error:
                yield error.unseen(f"big keys of {node.name}")
    found.sort(key=lambda one: (-one.bytes, one.node, one.key))
    yield from found[: rows or None]
    if found:
        yield Total("big_key", len(found))


def _sample(node: Node, value: Mapping[str, Any]) -> KeySample:
    return KeySample(
        subject=node.name,
        node=node.name,
        looked_at=value["looked_at"],
        of=Unknown(value["error"] or "it was not told") if value["of"] is None else value["of"],
        seconds=value["seconds"],
    )


def _big_key(node: Node, one: Mapping[str, Any]) -> BigKey:
    key = one["key"]
    # A name with anything else in it is no text to paste into a shell.
    asked = ("MEMORY", "USAGE", key) if _HARMLESS.fullmatch(key) else ()
    return BigKey(subject=key, key=key, node=node.name, bytes=one["bytes"], by_hand=(node.by_hand(*asked),))


def _refused(node: Node, value: Mapping[str, Any]) -> Unseen:
    denied = value["error"].startswith("NOPERM")
    return Unseen(
        f"big keys of {node.name}",
        "denied" if denied else "unsupported",
        value["error"],
        f"ACL SETUSER {node.user or 'NAME'} +dbsize +scan +memory|usage ~*" if denied else "",
    )

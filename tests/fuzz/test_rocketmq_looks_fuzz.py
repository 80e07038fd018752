"""Whatever brokers and clients of RocketMQ answer, a look ends in a report or a ProbeError."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.test_rocketmq_looks import NAME_SERVER, REPLIES, Scripted, recorded, reply

from opsdoc.looks import rocketmq_report
from opsdoc.looks.rocketmq_cluster import Proxy, find
from opsdoc.looks.rocketmq_proxy import look as look_through
from opsdoc.looks.rocketmq_watch import Wanted, watch
from opsdoc.model import ProbeError
from opsdoc.parsers import rocketmq_stacks
from opsdoc.signals import backlog, broker_health, consumers

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
CODES = sorted({item["code"] for item in REPLIES} | {14, 26, 29, 30, 31, 43})


def spoiled(value: Any, data: st.DataObject) -> Any:
    """The value with one thing in it replaced by something else."""
    value = copy.deepcopy(value)
    container, place = {"": value}, ""
    while isinstance(container[place], dict | list) and container[place] and data.draw(st.integers(0, 3)):
        inner = container[place]
        places = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        container, place = inner, data.draw(st.sampled_from(places))
    if container == {"": value}:
        return data.draw(JUNK)
    container[place] = data.draw(JUNK)
    return value


@given(st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_answers_end_in_a_report(data: st.DataObject) -> None:
    bad = set(data.draw(st.lists(st.sampled_from(CODES), min_size=1, max_size=4)))

    def answers(question: Any) -> Any:
        told = recorded(question) or reply(question.code, dict(question.fields))
        if question.code not in bad or told is None:
            return told
        return {**told, "body": spoiled(told["body"], data), "fields": {"offset": data.draw(st.text(max_size=5))}}

    host = Scripted(answers)
    with contextlib.suppress(ProbeError):
        cluster = find(host, [NAME_SERVER])
        wanted = Wanted(frozenset(), frozenset(), 3)
        if isinstance(cluster, Proxy):
            items = list(look_through(host, cluster, wanted._replace(groups=frozenset({"g_stuck"})), 12.0, 5))
        else:
            items = list(rocketmq_report.items(host, watch(host, cluster, wanted, 12.0, "n:1"), 5))
        for judge in (backlog, consumers, broker_health):
            list(judge.judge([one for one in items if hasattr(one, "kind")], [], judge.Limits()))
        json.dumps([repr(one) for one in items])


@given(st.text(max_size=300))
def test_any_text_is_a_dump_with_some_threads(text: str) -> None:
    for stack in rocketmq_stacks.parse(text + "\n\na TID: 1 STATE: RUNNABLE\na " + text):
        assert stack.state
        assert all(frame.function for frame in stack.frames)

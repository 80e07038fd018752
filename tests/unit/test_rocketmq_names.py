"""Names of RocketMQ: versions, queues as keys, and whose a retry topic is."""

from __future__ import annotations

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers import rocketmq_names as names
from opsdoc.parsers.rocketmq_names import Owner, Queue, owners, queue, reply_name, version_name


@pytest.mark.parametrize(
    ("ordinal", "name"),
    [
        (0, "3.x"),
        (211, "3.x"),
        (212, "4.0.0-SNAPSHOT"),
        (213, "4.0.0"),
        (399, "4.9.3"),  # as a 4.9.3 says
        (401, "4.9.4"),
        (411, "4.9.9"),
        (413, "5.0.0"),
        (479, "5.3.3"),
        (611, "5.9.9"),
        (612, None),
        (-1, None),
    ],
)
def test_versions_by_their_ordinals(ordinal, name):
    assert version_name(ordinal) == name


def test_codes_have_names():
    assert [reply_name(code) for code in (0, 17, 206, 4711)] == [
        "SUCCESS",
        "TOPIC_NOT_EXIST",
        "CONSUMER_NOT_ONLINE",
        "code 4711",
    ]
    assert names.GET_BROKER_CLUSTER_INFO == 106


def test_a_queue_is_a_key():
    assert queue('{"brokerName":"broker-a","queueId":3,"topic":"%RETRY%g"}') == Queue("broker-a", "%RETRY%g", 3)


@pytest.mark.parametrize(
    "key", ["", "3", "{}", '{"brokerName":"a","queueId":"0","topic":"T"}', '{"brokerName":1,"queueId":0,"topic":"T"}']
)
def test_what_is_no_queue(key):
    with pytest.raises(Malformed):
        queue(key)


def test_topics_of_a_group():
    assert names.retry_topic("g") == "%RETRY%g"
    assert names.dead_letter_topic("g") == "%DLQ%g"
    assert names.pop_retry_topics("g", "T") == ("%RETRY%g_T", "%RETRY%g+T")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("T", []),
        ("%RETRY%a", [Owner("retry", "a")]),
        ("%DLQ%a_b", [Owner("dead-letter", "a_b")]),
        ("%DLQ%gone", []),
        ("%RETRY%gone", []),
        ("%RETRY%", []),
        ("%RETRY%a_T", [Owner("pop-retry", "a", "T")]),
        ("%RETRY%a+T", [Owner("pop-retry", "a", "T")]),
        ("%RETRY%a_b_T", [Owner("pop-retry", "a", "b_T"), Owner("pop-retry", "a_b", "T")]),
        ("%RETRY%a_b+T", [Owner("pop-retry", "a_b", "T")]),
        ("%RETRY%a_b", [Owner("retry", "a_b"), Owner("pop-retry", "a", "b")]),
        ("%RETRY%a_x", []),
    ],
)
def test_whose_a_topic_is(name, expected):
    assert list(owners(name, {"a", "a_b"}, {"T", "b", "b_T"})) == expected


def test_every_topic_that_is_made_is_found():
    groups, topics = {"a", "a_b", "a_b_c", "%x"}, {"c", "b_c", "T-1"}
    for group in groups:
        assert Owner("retry", group) in owners(names.retry_topic(group), groups, topics)
        assert Owner("dead-letter", group) in owners(names.dead_letter_topic(group), groups, topics)
        for topic in topics:
            for made in names.pop_retry_topics(group, topic):
                assert Owner("pop-retry", group, topic) in owners(made, groups, topics)

"""What fastjson writes: object keys, numbers as keys, references, NaN; quickly, and never without end."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from opsdoc.model import Malformed
from opsdoc.parsers import fastjson
from opsdoc.parsers.fastjson import MAX_DEPTH, object_key, parse

REPLIES = json.loads((Path(__file__).parent / "samples/rocketmq/replies-4.9.3.json").read_text())
QUEUE = '{"brokerName":"broker-a","queueId":1,"topic":"T1"}'


def body(code, **ext):
    """The body of a recorded reply."""
    reply = next(reply for reply in REPLIES if reply["code"] == code and reply["ext"] == ext)
    return base64.b64decode(reply["body_b64"])


# ── real replies ─────────────────────────────────────────────────────────────────────────────────


def test_numbers_as_keys():
    assert parse(body(106))["brokerAddrTable"]["broker-a"]["brokerAddrs"] == {"0": "127.0.0.1:20911"}
    assert parse(body(45)) == {"offsetTable": {"3": 3, "4": 3}}
    assert parse(b"{-1:2,0:{7:[1,{8:9}]}}") == {"-1": 2, "0": {"7": [1, {"8": 9}]}}


def test_objects_as_keys_are_their_text():
    table = parse(body(202, topic="T1"))["offsetTable"]
    assert table[QUEUE] == {"lastUpdateTimestamp": 1795384071316, "maxOffset": 25, "minOffset": 0}
    assert sorted(object_key(key)["queueId"] for key in table) == [0, 1, 2, 3]


def test_all_groups_of_a_broker_in_one_reply():
    everything = parse(body(317, isOrder="false"))
    assert everything["totalDiff"] == 158
    groups = {name: stats for group in everything["consumeStatsList"] for name, stats in group.items()}
    rows = [row for stats in groups["g_stuck"] for row in stats["offsetTable"].values()]
    assert sum(row["brokerOffset"] - row["consumerOffset"] for row in rows) == 100


def test_a_thread_dump_beside_object_keys():
    info = parse(body(307, consumerGroup="g_stuck", clientId="127.0.0.1@13529#2344775600420", jstackEnable="true"))
    assert info["jstack"].startswith("RequestHouseKeepingService1 ")
    assert QUEUE in info["mqTable"]


def test_each_recorded_body_that_is_json_is_what_json_says():
    plain = 0
    for reply in REPLIES:
        data = base64.b64decode(reply["body_b64"])
        try:
            expected = json.loads(data)
        except ValueError:
            continue
        plain += 1
        assert parse(data) == expected
    assert plain >= 5


# ── what else fastjson writes ────────────────────────────────────────────────────────────────────


def test_what_is_no_finite_number_is_none():
    assert parse(b'{"a":NaN,"b":-Infinity,"c":1e999,"d":1.5}') == {"a": None, "b": None, "c": None, "d": 1.5}
    assert parse(b'{1:NaN,{"a":1}:Infinity,"c":"x,{1}:"}') == {"1": None, '{"a":1}': None, "c": "x,{1}:"}


@pytest.mark.parametrize(
    "text",
    [
        '"x,{\\"a\\":1}:y"',
        '"{0:1}"',
        '",7:"',
        '"\\\\"',
        '"\\",{\\"a\\":1}:"',
        '"a\\nb\\u00e9\\ud83d\\ude00"',
    ],
)
def test_what_looks_like_a_key_within_a_string_is_text(text):
    expected = json.loads(text)
    assert parse(f'{{{QUEUE}:{text},"b":[{text},{{3:{text}}}]}}'.encode()) == {
        QUEUE: expected,
        "b": [expected, {"3": expected}],
    }


def test_a_brace_within_a_key_object():
    key = '{"topic":"}:1,3:2}","queueId":0}'
    assert parse(f"{{{key}:5}}".encode()) == {key: 5}
    nested = '{"a":{"b":[1,{"c":2}]}}'
    assert parse(f"{{{nested}:5}}".encode()) == {nested: 5}
    assert object_key(nested) == {"a": {"b": [1, {"c": 2}]}}


def test_a_key_that_is_text_of_an_object_already():
    assert parse(json.dumps({"t": {QUEUE: 1}}).encode()) == parse(f'{{"t":{{{QUEUE}:1}}}}'.encode())


@pytest.mark.parametrize("key", ["", "T1", "7", "[1]", '{"a":', "[" * 100_000, "null"], ids=lambda key: key[:9])
def test_a_key_that_was_no_object(key):
    with pytest.raises(Malformed, match="not an object"):
        object_key(key)


def test_references_are_what_they_refer_to():
    assert parse(
        b'{"a":[{"x":1},{"$ref":"$.a[0]"}],"b":{"$ref":"$.a[0]"},"c":{"$ref":"$.d.e-f"},"d":{"e-f":{"y":2}}}'
    ) == {
        "a": [{"x": 1}, {"x": 1}],
        "b": {"x": 1},
        "c": {"y": 2},
        "d": {"e-f": {"y": 2}},
    }
    assert parse(b'[{"a.b":{"c":1}},{"$ref":"$[0].a\\\\.b"},{"$ref":"$[0][\\"a.b\\"]"}]')[1:] == [{"c": 1}, {"c": 1}]


@pytest.mark.parametrize("path", ["$", "..", "@", "$.a", "$.none", "$.a[9]", "$.b.c", "$a", "", "$[0]", "$.a["])
def test_references_that_lead_back_or_nowhere_stay(path):
    value = {"a": [{"$ref": path}], "b": 1}
    assert parse(json.dumps(value).encode()) == value


def test_references_cannot_make_much_of_little():
    value = {"big": list(range(5000)), "again": [{"$ref": "$.big"}] * 5000}
    with pytest.raises(Malformed, match="repeat"):
        parse(json.dumps(value).encode())


def test_lone_surrogates_do_not_get_in():
    value = parse(b'{"a":"\\ud800 \xff \xed\xa0\x80","\\udfff":1}')
    assert value["a"].encode()
    assert json.dumps(value, ensure_ascii=False).encode()
    (key,) = parse(b'{{"a":"\\ud800"}:1}')
    assert object_key(key) == {"a": "\\ud800"}


# ── what is none ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"}",
        b"[1,]",
        b'{"a"}',
        b'{"a":}',
        b"{{}}",
        b"{{}:}",
        b'{"a":1,}',
        b'{"a":1}{',
        b"[}",
        b"{]",
        b"{1}",
        b"nul",
        b"'a'",
        b"HTTP/1.1 400 Bad Request",
        b"\0\xff",
        b"9" * 21,
        b"9" * 5000,
        b"[" * 200_000,
        b"{1:" * 200_000,
        b"{{" * 200_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    ],
    ids=lambda data: ascii(data[:12]),
)
def test_what_is_none(data):
    with pytest.raises(Malformed) as caught:
        parse(data)
    assert len(caught.value.detail) < 200


def test_it_may_be_as_deep_as_it_may():
    assert json.dumps(parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)) == "[" * MAX_DEPTH + "]" * MAX_DEPTH


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


def many_groups(groups):
    """A reply to 317 as a large broker makes it, with eight queues for each group."""
    row = '{{"brokerName":"broker-a","queueId":{},"topic":"orders_{}"}}:{{"brokerOffset":25,"consumerOffset":9}}'
    group = '{{"group_{}":[{{"consumeTps":0.0,"offsetTable":{{{}}}}}]}}'
    stats = [group.format(n, ",".join(row.format(queue, n) for queue in range(8))) for n in range(groups)]
    return f'{{"consumeStatsList":[{",".join(stats)}],"totalDiff":1}}'.encode()


@pytest.mark.box
def test_seven_megabytes_are_read_in_time():
    data = many_groups(8500)
    assert len(data) > 7_000_000
    began = time.perf_counter()
    value = parse(data)
    assert time.perf_counter() - began < 20
    assert len(value["consumeStatsList"]) == 8500


def test_both_ways_read_the_same():
    data = many_groups(3)
    assert fastjson._Tolerant(data.decode()).value() == parse(data)


@pytest.mark.parametrize(
    "piece",
    [
        b'{"a":1}:',
        b",{",
        b"{,",
        b'"\\',
        b",1:",
        b"{1:",
        b'{"$ref":"$.a"},',
        b"\\ud800",
        b"   ",
        b'{"a":"',
        b"-",
        b"]",
        b"{{",
    ],
)
def test_time_is_linear(piece):
    """Four times as much takes less than four times four times as long."""

    def seconds(count):
        data = b"[" + piece * count
        best = 9.0
        for _ in range(3):
            began = time.perf_counter()
            with pytest.raises(Malformed):
                parse(data)
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(40_000) < 0.05 + 10 * seconds(10_000)

"""Any lines of any format through the counting of cache statuses: nothing is lost, and no text of a URL comes out."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from opsdoc.parsers.cache_tally import OTHER, CacheTally, path_of, prefix_of, target_of
from opsdoc.parsers.log_format import compile_format
from opsdoc.parsers.nginx_nouns import AccessLog, Conf, Pass, Place, Setting
from opsdoc.parsers.nginx_zones import Zones
from opsdoc.parsers.tally import read

FORMATS = [
    compile_format('$host "$request" $upstream_cache_status'),
    compile_format('{"uri":"$request_uri","cache":"$upstream_cache_status"}', "json"),
    compile_format('$status "$request"'),
]
PLAIN = re.compile(r"/(?:\*|[A-Za-z0-9._~-]{0,32})(?:/(?:\*|\*\.[A-Za-z][A-Za-z0-9]{0,5}|[A-Za-z0-9._~-]{0,32}))?")
STATUSES = st.sampled_from([b"HIT", b"MISS", b"EXPIRED", b"BYPASS", b"-", b"", b"HIT HIT", b"\xff"])


def lines(asked: bytes, status: bytes) -> bytes:
    return b'site.test "GET ' + asked + b' HTTP/1.1" ' + status + b"\n"


@given(st.lists(st.builds(lines, st.binary(max_size=60), STATUSES), max_size=20), st.binary(max_size=80))
def test_any_lines_are_counted_or_left_out(made, tail):
    data = b"".join(made) + tail
    for fmt in FORMATS:
        tally = CacheTally(lambda path: "a" if path else "b")
        for block in read(data, fmt):
            tally.add(block)
        assert tally.rows + tally.unread <= data.count(b"\n") + 1
        for zone in tally.zones.values():
            assert sum(zone.statuses.values()) == sum(sum(one.values()) for one in zone.prefixes.values())
            assert all(prefix == OTHER or PLAIN.fullmatch(prefix) for prefix in zone.prefixes)
            assert 0 <= zone.repeats.again <= sum(zone.statuses.values())


@given(st.binary(max_size=200))
def test_any_url_has_a_beginning_of_plain_words(asked):
    path = path_of(target_of(asked) or asked)
    assert prefix_of(path) == OTHER or PLAIN.fullmatch(prefix_of(path))


@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from("abc")), max_size=8), st.text(max_size=30))
def test_any_locations_give_a_zone_in_time(written, path):
    here = Place("f", 1)
    passes = [
        Pass("proxy", False, "http://app", "app", "", (), location, here, {"cache": Setting((zone,), here)})
        for location, zone in [*written, ("~ (a+)+$", "d")]
    ]
    assert Zones(Conf(passes=tuple(passes)), AccessLog("/log"), "/log").of("/" + "a" * 500 + path)

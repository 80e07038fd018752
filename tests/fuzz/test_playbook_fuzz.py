"""Any bytes are a playbook or a UsageError with its place: arbitrary ones, and real playbooks that were damaged."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.config import parse as parse_yaml
from opsdoc.model import UsageError
from opsdoc.playbook.document import Playbook, parse

REAL = [path.read_text() for path in sorted((Path(__file__).parents[2] / "playbooks").glob("*.yml"))]
WORDS = st.sampled_from(
    """null true ~ - : {} [] '' "" | > & * ! % @ ${{ }} when steps params parallel outcomes severity id probe with cpu
    stack 10**10**9 steps.cpu.box[0].busy any( "x" 5s 85% 9e99 -1 \t é \x00 \n""".split(" ")
)


def is_playbook_or_refused(data):
    try:
        assert isinstance(parse(data, "f.yml"), Playbook)
    except UsageError as error:
        lines = str(error).splitlines()
        assert all(re.match(r"f\.yml:\d+:\d+: |and \d+ more$", line) for line in lines), lines


@given(st.one_of(st.binary(max_size=200), st.lists(WORDS, max_size=30).map(lambda words: " ".join(words).encode())))
def test_any_bytes_are_a_playbook_or_refused(data):
    is_playbook_or_refused(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(REAL), st.integers(0, 10_000), st.integers(0, 60), st.one_of(WORDS, st.text(max_size=12)))
def test_a_real_playbook_with_a_piece_replaced_is_a_playbook_or_refused(real, at, length, piece):
    at %= len(real)
    is_playbook_or_refused((real[:at] + piece + real[at + length :]).encode("utf-8", "surrogatepass"))


@given(st.text(alphabet=" \n\t'\"\\ab|>#:-é\x85\u2028", max_size=40), st.integers(0, 50))
def test_a_place_in_a_text_is_within_the_text(written, at):
    for text in (f"a: {written}", f"a: '{written}'", f'a: "{written}"', f"a: |\n  {written}"):
        try:
            root = parse_yaml(text.encode(), "f.yml")
        except UsageError:
            continue
        if root is None or not isinstance(root.value, dict):
            continue
        for node in root.value.values():
            if isinstance(node.value, str):
                place = node.place(min(at, len(node.text)))
                lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
                assert (place.line, place.column) >= (node.mark.line, 1)
                assert place.column <= len(lines[place.line - 1]) + 1

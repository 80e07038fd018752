"""Whatever stands in a configuration, its client answers and its parser gives nouns or Malformed."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opsdoc.clients import Live
from opsdoc.clients.nginx_conf import Dump
from opsdoc.clients.nginx_syntax import _RUNS, _runs
from opsdoc.model import Malformed
from opsdoc.parsers import nginx_words
from opsdoc.parsers.nginx_conf import KEPT, configuration
from opsdoc.redact import Redactor

frugal = settings(max_examples=200, deadline=None)

NAMES = sorted(KEPT)
PIECES = [
    *("{", "}", ";", "\n", " ", "\t", "'", '"', "\\", "#", "$", "${", "$a", "-", "--", "=", ":", "/", "\0", "\r", "é"),
    *(
        "\\\n",
        "zone=",
        "off",
        "a.b:80",
        "unix:/x:/y",
        "http://",
        "http://a",
        "escape=json",
        "weight=x",
        "\u2028",
        "\xa0",
    ),
    *("content_by_lua_block {", "set_by_lua_block $x {", "# configuration file /b:\n", "include /b;", "include *;"),
]
texts = st.lists(st.sampled_from([*PIECES, *NAMES]), max_size=60).map(" ".join) | st.lists(
    st.sampled_from(PIECES), max_size=40
).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
words = st.sampled_from(
    ["", "a", "off", "zone=a:1", "http://a", "https://$a", "[", "unix:", "=", "٣", "1" * 5000]
) | st.text(max_size=9)


@st.composite
def directives(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    made: dict[str, Any] = {"directive": draw(st.sampled_from(NAMES)), "args": draw(st.lists(words, max_size=4))}
    made["line"] = draw(st.integers() | st.none())
    if depth and draw(st.booleans()):
        made["block"] = draw(st.lists(directives(depth - 1), max_size=4))
    return made


def answered(path: Path) -> Any:
    live = Live(deadline=time.monotonic() + 60, redactor=Redactor())
    return Dump(path).answer(live)


@frugal
@given(texts)
def test_any_text_is_answered(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "nginx-fuzz.conf"
    path.write_bytes(("# configuration file /a:\n" + text).encode("utf-8", "surrogatepass"))
    given_back = answered(path)
    json.dumps(given_back)
    configuration(given_back)


@frugal
@given(st.binary(max_size=400))
def test_any_bytes_are_answered(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "nginx-fuzz.bin"
    path.write_bytes(b"# configuration file /a:\n" + data)
    configuration(answered(path))


@frugal
@given(st.lists(directives(), max_size=6), json_values)
def test_any_tree_becomes_nouns(tree: list[dict[str, Any]], problems: Any) -> None:
    configuration({"prefix": "/p", "directives": tree, "problems": problems})


@frugal
@given(json_values)
def test_any_json_is_nouns_or_malformed(value: Any) -> None:
    for tree in (value, {"directives": value}, {"directives": [{"directive": "http", "block": value, "args": value}]}):
        with contextlib.suppress(Malformed):
            configuration(tree)


@frugal
@given(st.text(max_size=60) | words)
def test_any_word(text: str) -> None:
    nginx_words.seconds(text)
    nginx_words.size(text)
    nginx_words.number(text)
    nginx_words.listen(text)
    for kind in ("proxy", "fastcgi"):
        nginx_words.target(kind, text)


@frugal
@given(texts)
def test_runs_of_characters_give_the_tokens_that_characters_give(text: str) -> None:
    from crossplane.lexer import _lex_file_object

    assert "".join(_RUNS.findall(text)) == text

    def tokens(pieces: Any) -> Any:
        try:
            return list(_lex_file_object(pieces))
        except Exception as error:  # noqa: BLE001 - the same, whatever it is
            return repr(error)

    plain = text.partition("\0")[0]
    assert tokens(_runs(text)) == tokens([plain, "\n", ["\0end"], "\n"])

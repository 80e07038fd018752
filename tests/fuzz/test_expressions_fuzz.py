"""Expressions are total, what the checker lets pass never fails, and what is decided stays so when more is known."""

from __future__ import annotations

import re
import time

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from opsdoc.model import Unknown
from opsdoc.playbook.expressions import ExpressionError, Items, ListOf, OneOf, Record, parse
from opsdoc.playbook.language.functions import FUNCTIONS
from opsdoc.playbook.language.patterns import LinearPattern
from opsdoc.playbook.language.tokens import Source
from opsdoc.playbook.templates import parse_template

frugal = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = [
    *"x y.z a['b'] a[0] a[-1] a[:5] 1 2.5 1e9 0 'text' \"any\" true false null [] () ( ) [ ] , . : ' \" \\".split(),
    *"== != < <= > >= + - * / % and or not in if else".split(),
    *"= ** // := { } # is for lambda await True None _x 5s 0x1 é \ud800".split(),
    *(f"{name}(" for name in FUNCTIONS),
    "\n",
    "any(x, 'item > 1')",
    "matches(x, '^a+$')",
]
soup = st.lists(st.sampled_from(WORDS), max_size=16).map(" ".join)
texts = st.text(max_size=40) | st.text("\ud800é'\"\\ \n()[]ax1.,", max_size=40) | soup


def quoted(text):
    """A text as a literal of the language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


# ── anything at all ──────────────────────────────────────────────────────────────────────────────


def check_error(error, text):
    """An error points into the text, and never says only that Python did not like it."""
    assert 0 <= error.column <= len(text)
    assert error.message != "this is not an expression"


def read(text):
    try:
        return parse(text)
    except ExpressionError as error:
        check_error(error, text)
        return None


@frugal
@given(
    texts | texts.map(lambda text: f"any(x, {quoted(text)})") | texts.map(lambda text: f"matches(x, {quoted(text)})")
)
def test_any_text_is_an_expression_or_an_error_with_its_column(text):
    read(text)


@settings(frugal, max_examples=30)
@given(
    st.sampled_from(WORDS), st.sampled_from([*WORDS, ""]), st.sampled_from(["", "1", ")", "]"]), st.integers(1, 4096)
)
def test_repetition_takes_no_time(word, other, end, times):
    begun = time.process_time()
    read((f"{word}{other}" * times)[: 4096 - len(end)] + end)
    assert time.process_time() - begun < 5


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**320)
    | st.floats()
    | st.text(max_size=8)
    | st.just(Unknown("why")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(lambda items: Items(items, "some were denied"))
        | st.dictionaries(st.sampled_from(["cpu", "role", "ok", "item"]), inner, max_size=4)
    ),
    max_leaves=8,
)
# ── expressions that make sense, over any scope and over scopes of known types ──────────────────────────────────────

ITEM = Record({"cpu": "number", "role": OneOf(("app", "gc")), "ok": "bool"})
TYPES = {"n": "number", "m": "number", "s": OneOf(("app", "gc")), "b": "bool", "c": "bool", "l": ListOf(ITEM)}
numbers = st.integers(-3, 3) | st.floats(-3, 3)
maybe = st.none() | st.just(Unknown("why"))
items = st.fixed_dictionaries(
    {},
    optional={"cpu": numbers | maybe, "role": st.sampled_from(["app", "gc"]) | maybe, "ok": st.booleans() | maybe},
)
lists = st.lists(items, max_size=3) | st.lists(items, max_size=3).map(lambda found: Items(found, "denied"))
typed_scopes = st.fixed_dictionaries(
    {
        "n": numbers | maybe,
        "m": numbers | maybe,
        "s": st.sampled_from(["app", "gc"]) | maybe,
        "b": st.booleans() | maybe,
        "c": st.booleans() | maybe,
        "l": lists | maybe,
    }
)


@st.composite
def sensible(draw, kind="bool", depth=3, inner=False, monotone=True):
    """An expression of a kind, save that one part in a dozen is of another one.

    Without `has` and `default` it is monotone: to know more changes no answer.
    """

    def sub(wanted, within=inner):
        wanted = draw(st.sampled_from([*[wanted] * 44, "number", "bool", "text", "list"]))
        return draw(sensible(wanted, depth - 1, within, monotone))

    def predicate(wanted="bool"):
        return quoted(sub(wanted, within=True))

    leaves = {
        "number": ["n", "m", "0", "1", "2.5", "l[0].cpu", *(["cpu"] if inner else [])],
        "bool": ["b", "c", "true", "l[-1].ok", *(["ok"] if inner else [])],
        "text": ["s", "'app'", "l[0].role", *(["role"] if inner else [])],
        "list": ["l", "l[:1]", "l[1:]", "l[-1:]"],
    }[kind]
    if depth <= 0:
        return draw(st.sampled_from(leaves))
    nodes = {
        "number": [
            lambda: f"({sub('number')} {draw(st.sampled_from('+-*/%'))} {sub('number')})",
            lambda: f"-{sub('number')}",
            lambda: f"({sub('number')} if {sub('bool')} else {sub('number')})",
            lambda: f"len({sub('list')})",
            lambda: f"count({sub('list')}, {predicate()})",
            lambda: f"{draw(st.sampled_from(['sum', 'min', 'max']))}(each({sub('list')}, {predicate('number')}))",
            lambda: f"{draw(st.sampled_from(['first', 'last']))}({sub('list')}).cpu",
            lambda: f"round({sub('number')}, 2)",
        ],
        "bool": [
            lambda: f"({sub('bool')} {draw(st.sampled_from(['and', 'or']))} {sub('bool')})",
            lambda: f"(not {sub('bool')})",
            lambda: f"({sub('number')} {draw(st.sampled_from(['<', '<=', '>', '>=', '==', '!=']))} {sub('number')})",
            lambda: f"({sub('number')} < {sub('number')} <= {sub('number')})",
            lambda: f"({sub('text')} {draw(st.sampled_from(['==', '!=', 'in', '<']))} {sub('text')})",
            lambda: f"({sub('number')} {draw(st.sampled_from(['in', 'not in']))} [{sub('number')}, {sub('number')}])",
            lambda: f"({sub('text')} in each({sub('list')}, {predicate('text')}))",
            lambda: f"({sub('number')} == null)",
            lambda: f"{draw(st.sampled_from(['any', 'all']))}({sub('list')}, {predicate()})",
            lambda: f"matches({sub('text')}, '^(a|g)')",
        ],
        "text": [lambda: f"lower({sub('text')})", lambda: f"({sub('text')} if {sub('bool')} else {sub('text')})"],
        "list": [lambda: f"where({sub('list')}, {predicate()})", lambda: f"{sub('list')}[:1]"],
    }[kind]
    if not monotone:
        nodes.append(lambda: f"default({sub(kind)}, {sub(kind)})")
        if kind == "bool":
            nodes.append(lambda: f"has({sub('number')})")
    made = draw(st.sampled_from([None, *nodes]))
    return draw(st.sampled_from(leaves)) if made is None else made()


def checks(expression):
    try:
        expression.check_condition(TYPES)
    except ExpressionError:  # `'app' in …` of another word, and other things that are wrong by chance
        return False
    return True


scopes = st.dictionaries(st.sampled_from(["n", "m", "s", "b", "c", "l"]), json, min_size=3)


def is_value(value):
    """Whether this is what an expression may come to."""
    if isinstance(value, list):
        return all(is_value(item) for item in value)
    if isinstance(value, dict):
        return all(is_value(item) for item in value.values())
    return value is None or isinstance(value, bool | int | float | str | Unknown)


@settings(frugal, max_examples=150)
@given(st.sampled_from(["bool", "number", "text", "list"]).flatmap(lambda kind: sensible(kind, monotone=False)), scopes)
def test_an_expression_has_a_value_or_an_error_in_any_scope(text, scope):
    expression = parse(text)
    try:
        assert is_value(expression.evaluate(scope))
    except ExpressionError as error:
        check_error(error, text)


@frugal
@given(
    st.lists(texts | (soup | sensible("text")).map(lambda text: f"${{{{ {text} }}}}"), max_size=4).map("".join), scopes
)
def test_any_text_is_a_template_or_an_error_with_its_column(text, scope):
    try:
        template = parse_template(text)
        assert isinstance(template.render(scope), str)
        assert is_value(template.value(scope))
    except ExpressionError as error:
        check_error(error, text)


@settings(frugal, max_examples=150)
@given(sensible(monotone=False), typed_scopes)
def test_what_the_checker_lets_pass_never_fails(text, scope):
    expression = parse(text)
    assume(checks(expression))
    assert isinstance(expression.decide(scope), bool | Unknown)


@st.composite
def known_better(draw, value):
    """The same value after a closer look: what was unknown is known, what was missing is there."""
    if isinstance(value, dict):
        return {key: draw(known_better(one)) for key, one in value.items()}
    if isinstance(value, list):
        seen = [draw(known_better(one)) for one in value]
        return seen if not isinstance(value, Items) else [*seen, *draw(st.lists(items, max_size=2))]
    return value


@st.composite
def two_looks(draw):
    """A scope, and the same scope after a closer look."""
    scope = draw(typed_scopes)
    better = draw(known_better(scope))
    kinds = {"n": numbers, "m": numbers, "s": st.sampled_from(["app", "gc"]), "b": st.booleans(), "c": st.booleans()}
    for name, kind in {**kinds, "l": lists}.items():
        if isinstance(better[name], Unknown):
            better[name] = draw(kind | st.none())
    for item in better["l"] if isinstance(better["l"], list) else []:
        for name, kind in {"cpu": numbers, "role": kinds["s"], "ok": st.booleans()}.items():
            if name not in item or isinstance(item[name], Unknown):
                item[name] = draw(kind | st.none())
    return scope, better


@settings(frugal, max_examples=150)
@given(sensible(), two_looks())
def test_what_is_decided_stays_so_when_more_is_known(text, looks):
    expression = parse(text)
    assume(checks(expression))
    first, closer = (expression.decide(scope) for scope in looks)
    if not isinstance(first, Unknown):
        assert closer == first


# ── patterns ─────────────────────────────────────────────────────────────────────────────────────

patterns = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\.", "1", "(?:a|b1)", "é", "-"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{,2}", "*?"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        )
        | st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})")
    ),
    max_leaves=6,
)
anchored = st.tuples(st.sampled_from(["", "^", "(?i)", "(?i)^"]), patterns, st.sampled_from(["", "$"])).map("".join)


@settings(frugal, max_examples=150)
@given(anchored, st.text("abAB1é.-\n", max_size=8))
def test_a_pattern_finds_what_re_finds(pattern, text):
    counted = pattern.replace("{,", "{0,").replace("$", r"\Z")  # `re` knows {,2} too; its $ is also before a line end
    assert LinearPattern(Source.of(pattern)).find(text, 10_000) == bool(re.search(counted, text, re.DOTALL))

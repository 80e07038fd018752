"""Whose code it is: what the tables say, and the guesses that are easily wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsdoc.model import Frame, Origin
from opsdoc.parsers.hotspot_dump import parse
from opsdoc.parsers.pyspy import parse_json, parse_text
from opsdoc.signals.origin import classify, first_app, java_origin, python_origin

SAMPLES = Path(__file__).parent / "samples"


@pytest.mark.parametrize(
    ("function", "origin"),
    [
        ("java.util.HashMap.get", "runtime"),
        ("jdk.internal.misc.Unsafe.park", "runtime"),
        ("com.sun.crypto.provider.AESCrypt.encryptBlock", "runtime"),
        ("java.lang.invoke.LambdaForm$MH/0x0000000800c03000.invoke", "runtime"),
        ("jdk.proxy2.$Proxy34.price", "runtime"),
        ("com.acme.$Proxy12.price", "runtime"),
        ("com.acme.OrderPricer$$Lambda/0x000000003a080210.run", "runtime"),
        ("com.acme.OrderPricer$$Lambda$14/0x0000000800c03000.run", "runtime"),
        ("com.sun.jersey.spi.container.ContainerRequest.get", "library"),
        ("javax.servlet.http.HttpServlet.service", "library"),
        ("javax.crypto.Cipher.doFinal", "runtime"),
        ("jakarta.servlet.http.HttpServlet.service", "library"),
        ("org.springframework.web.servlet.DispatcherServlet.doDispatch", "library"),
        ("io.netty.channel.nio.NioEventLoop.run", "library"),
        ("scala.collection.immutable.List.map", "library"),
        ("com.acme.PriceService$$EnhancerBySpringCGLIB$$1a2b.price", "library"),
        ("com.acme.PriceService$$SpringCGLIB$$0.price", "library"),
        ("com.acme.OrderPricer.recalculate", "app"),
        ("com.acme.OrderPricer.lambda$main$0", "app"),
        ("com.acme.Foo$.$anonfun$main$1", "app"),
        ("com.google.acme.Ours.run", "app"),
        ("javaclub.Main.run", "app"),
        ("orgapache.Main.run", "app"),
        ("scalable.Service.run", "app"),
        ("Main.main", "app"),
        ("java", "app"),
        ("", "app"),
    ],
)
def test_java(function: str, origin: Origin) -> None:
    assert java_origin(function) == origin


@pytest.mark.parametrize(
    ("filename", "origin"),
    [
        ("/srv/shop/app.py", "app"),
        ("app.py", "app"),
        ("pricing/engine.py", "app"),
        ("/srv/shop.pyz/pricing/engine.py", "app"),
        ("/srv/lib/python/engine.py", "app"),
        ("/srv/threading.py", "app"),
        ("/usr/lib/python3.11/asyncio/base_events.py", "runtime"),
        ("/home/shop/.pyenv/versions/3.11.4/lib/python3.11/threading.py", "runtime"),
        ("/usr/lib64/python3.9/json/decoder.py", "runtime"),
        ("/usr/lib/python2.7/threading.py", "runtime"),
        ("/opt/py/lib/python3.13t/queue.py", "runtime"),
        ("/usr/lib/python311.zip/json/decoder.py", "runtime"),
        ("/opt/pypy/lib/pypy3.10/threading.py", "runtime"),
        ("/srv/venv/lib/python3.11/site-packages/django/core/handlers/base.py", "library"),
        ("/usr/lib/python3/dist-packages/requests/api.py", "library"),
        ("/home/shop/.pyenv/versions/3.11.4/lib/python3.11/site-packages/numpy/core/x.py", "library"),
        ("/home/shop/.shiv/app_0a1b/site-packages/shop/app.py", "library"),
        ("<frozen importlib._bootstrap>", "runtime"),
        ("<string>", "runtime"),
        ("<attrs generated init shop.Order>", "runtime"),
        ("<stdin>", "app"),
        ("<ipython-input-3-0a1b>", "app"),
        ("<__array_function__ internals>", "library"),
        ("threading.py", "runtime"),
        ("asyncio/base_events.py", "runtime"),
        ("django/core/handlers/base.py", "library"),
        ("redis.py", "app"),
        ("libc.so.6", "runtime"),
        ("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", "runtime"),
        ("libopenblas.so.0", "library"),
        ("libcrypto.so.3", "library"),
        (None, "runtime"),
    ],
)
def test_python(filename: str | None, origin: Origin) -> None:
    assert python_origin(filename) == origin


def test_the_first_frame_worth_looking_at() -> None:
    app, lib, run = Frame("a"), Frame("l", origin="library"), Frame("r", origin="runtime")
    assert first_app([run, lib, app, Frame("b")]) is app
    assert first_app([run, lib, run]) is lib
    assert first_app([run]) is None
    assert first_app([]) is None


def test_a_program_that_is_a_string() -> None:
    frames = (Frame("compile", "/usr/lib/python3.11/re.py", 9), Frame("<module>", "<string>", 1))
    assert first_app(classify(frames, "python")) == frames[1]
    # multiprocessing starts its workers with -c: with any other code there, the string is not what matters
    assert first_app(classify((Frame("f", "/srv/app.py", 3), *frames), "python")) == Frame("f", "/srv/app.py", 3)
    in_library = classify((Frame("f", "/v/lib/python3.11/site-packages/x.py", 3), *frames), "python")
    assert first_app(in_library) == in_library[0]
    assert first_app(classify((Frame("__init__", "<string>", 3),), "python")) is None


def test_recorded_stacks() -> None:
    (hot,) = [t for t in parse((SAMPLES / "hotspot-17.txt").read_bytes()).threads if t.name == "price-engine-hot-0"]
    assert [frame.origin for frame in classify(hot.frames, "java")] == ["app", "app", "runtime", "runtime"]
    for threads in (
        parse_json((SAMPLES / "pyspy-dump.json").read_bytes()),
        parse_text((SAMPLES / "pyspy-dump.txt").read_bytes()),
    ):
        main = classify(next(t for t in threads if t.tid == 11957).frames, "python")
        assert [frame.origin for frame in main] == ["runtime", "runtime", "app"]
        assert first_app(main) == main[2]

"""What `opsdoc nginx` is measured with: a log of gigabytes that ends now, and a configuration of a megabyte."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

A_SECOND = 280  # lines, in a second
BACKENDS = ("10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "unix:/run/app.sock")


def large_log(path: Path, octets: int) -> None:
    """A log of so many bytes that ends now: every second has the same lines, so that it is written quickly."""
    source = random.Random(7)
    second = "".join(_line(source) for _ in range(A_SECOND)).encode()
    size = len(second.replace(b"@", b" " * 20)) + 6 * A_SECOND
    seconds = octets // size
    now = dt.datetime.now(dt.timezone.utc)
    with path.open("wb") as file:
        for back in range(seconds, 0, -1):
            at = (now - dt.timedelta(seconds=back)).strftime("%d/%b/%Y:%H:%M:%S +0000").encode()
            file.write(second.replace(b"@", at))


def _line(source: random.Random) -> str:
    server, took = source.choice(BACKENDS), source.randrange(2, 400) / 1000
    return (
        f'192.0.2.{source.randrange(256)} - - [@] "GET /item/{source.randrange(10**6)} HTTP/1.1" 200 '
        f'{source.randrange(200, 9000)} "-" "Mozilla/5.0 (X11; Linux x86_64)" rt={took:.3f} ua="{server}" us="200" '
        f'urt="{took:.3f}" uct="0.001" uht="{took:.3f}" cs=- lrs=PASSED lcs=PASSED\n'
    )


def configuration(path: Path, groups: int = 5_000) -> None:
    """A configuration of 1 MB with so many groups of two servers."""
    blocks = "".join(
        f"upstream shop_backend_of_the_region_{number:05} {{ server {_address(0, number)} "
        f"max_fails=3 fail_timeout=10s weight=5;\n"
        f"    server {_address(1, number)} max_fails=3 fail_timeout=10s backup; keepalive 16; }}\n"
        for number in range(groups)
    )
    passes = "".join(
        f"location /{number} {{ proxy_pass http://shop_backend_of_the_region_{number:05}; }}\n"
        for number in range(0, groups, 50)
    )
    path.write_text(f"events {{}}\nhttp {{\n{blocks}server {{ listen 80;\n{passes}}}\n}}\n")


def _address(first: int, number: int) -> str:
    return f"10.{first}.{number >> 8 & 255}.{number & 255}:8080"

"""Servers of another kind than the one that is looked for, each as a block that yields its address."""

from __future__ import annotations

import contextlib
import http.server
import threading


@contextlib.contextmanager
def web():
    """An HTTP server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def address_of(server):
    """Any of our servers."""
    with server as made:
        yield made.address

"""A web server on the loopback address, for tests of fetching."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What the server says: `length` is a Content-Length that need not be true, `delay` seconds before the body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    delay: float = 0.0


@dataclass
class Web:
    """The server: its address, the requests it saw (path and headers), and what it answers."""

    url: str
    answers: dict[str, Answer | Callable[[int, dict[str, str]], Answer]]
    requests: list[tuple[str, dict[str, str]]]

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(seen == path for seen, _ in self.requests)


@contextmanager
def serve() -> Iterator[Web]:
    """Run a server until the end of the block."""
    web = Web("", {}, [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.requests.append((self.path, dict(self.headers.items())))
            found = web.answers.get(self.path, Answer(b"nothing here", 404))
            answer = found if isinstance(found, Answer) else found(web.count(self.path), dict(self.headers.items()))
            if answer.delay:
                time.sleep(answer.delay)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 304:
                self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            with suppress(OSError):  # a client that has seen enough hangs up
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serve_raw(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run a server that reads a request and does what `talk` does with the connection, until the client hangs up;
    yields its address.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            talk(connection)

    def run() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

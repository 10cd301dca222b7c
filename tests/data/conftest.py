"""Where the data sets of a test come from."""

import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the test's own, and no folder of data: whatever the machine has is out of
    sight.
    """
    folder = tmp_path / "cache"
    monkeypatch.delenv("PRIORWISE_DATA", raising=False)
    monkeypatch.setenv("PRIORWISE_CACHE", str(folder))
    return folder


@pytest.fixture
def real_data() -> Path:
    """The folder of the real data sets; the test is skipped where there is none."""
    folder = os.environ.get("PRIORWISE_DATA")
    if not folder:
        pytest.skip("PRIORWISE_DATA is not set")
    return Path(folder)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, body, announced = self.server.pages.get(self.path, (404, b"", 0))
        self.send_response(status)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


Serve = Callable[..., str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """``serve(path, body, status=200, announced=None)`` puts a page on a server of this machine;
    returns its address.
    """
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.pages = {}
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def page(path: str, body: bytes, status: int = 200, announced: int | None = None) -> str:
        server.pages[path] = (status, body, len(body) if announced is None else announced)
        return f"http://127.0.0.1:{server.server_port}{path}"

    yield page
    server.shutdown()
    server.server_close()
    thread.join()

"""A server with the routes of the Hugging Face Hub that a download uses, for one repository."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPO, COMMIT = "someone/nuclei", "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves `files` by name. `sha256` replaces the stated hash, `cut` ends downloads after so many bytes."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.sha256, self.cut = files, {}, 0
        self.ranges: list[str] = []
        self.requests = 0

    sha256: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[HubServer]:
    server = HubServer(files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        self.server.requests += 1
        prefix = f"/{REPO}/resolve/"
        if not self.path.startswith(prefix):
            return self._fail("RepoNotFound")
        revision, _, name = self.path.removeprefix(prefix).partition("?")[0].partition("/")
        if revision not in ("main", COMMIT):
            return self._fail("RevisionNotFound")
        if name not in self.server.files:
            return self._fail("EntryNotFound")
        content = self.server.files[name]
        digest = self.server.sha256.get(name, hashlib.sha256(content).hexdigest())
        start, asked = 0, self.headers.get("Range")
        if with_body and asked:
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self.wfile.write(content[start : start + self.server.cut] if self.server.cut else content[start:])
            self.server.cut = 0
        return None

    def _fail(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

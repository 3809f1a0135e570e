"""A file server for looking at the site: loopback only, with HTTP ranges so that audio can be wound."""

from __future__ import annotations

import errno
import functools
import re
import sys
import threading
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem

# More digits than the size of any file name no place in one, and would take long to read as a number.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_RELATIVE = re.compile(rb'(href|src)="(?!https?:|[#/])')
_IDLE_SECONDS = 10
_MOST_CONNECTIONS = 64
_BLOCK = 1 << 16


class _Handler(SimpleHTTPRequestHandler):
    """Serves files with byte ranges, and the site's own page for what is not there."""

    timeout = _IDLE_SECONDS  # of a connection on which nothing comes

    def do_GET(self) -> None:
        """Answer with the file, the part of it that was asked for, or the 404 page."""
        if self._names_nothing():
            return
        path = Path(self.translate_path(self.path))
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted and path.is_file():
            self._send_part(path, *wanted.groups())
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        """Answer as to GET, without the content."""
        if not self._names_nothing():
            super().do_HEAD()

    def _names_nothing(self) -> bool:
        """Answer a path that no file can have; say whether it was one."""
        path = self.translate_path(self.path)
        try:
            Path(path).stat()
        except ValueError:  # a null byte
            self.send_error(HTTPStatus.NOT_FOUND)
            return True
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            self.send_error(
                HTTPStatus.NOT_FOUND
            )  # a name that is too long, a folder that may not be read
            return True
        return False

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not there with the site's page for it."""
        page = Path(self.directory) / "404.html"
        if code != HTTPStatus.NOT_FOUND or not page.is_file():
            super().send_error(code, message, explain)
            return
        # Asked for at any depth, so its links have to start from the top.
        content = _RELATIVE.sub(rb'\1="/', page.read_bytes())
        self.send_response(HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        """Say that ranges are served and that nothing should be guessed."""
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        """Show no listings."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing about single requests."""

    def _send_part(self, path: Path, first: str, last: str) -> None:
        size = path.stat().st_size
        start = int(first) if first else max(0, size - int(last or 0))
        end = min(int(last), size - 1) if first and last else size - 1
        if not (first or last) or start > end:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            left = end - start + 1
            while left and (block := file.read(min(left, _BLOCK))):
                self.wfile.write(block)
                left -= len(block)


class _Server(ThreadingHTTPServer):
    """A thread per connection, and no more than a few connections at a time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection where one is free; others are closed."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, then free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a reader that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def server(site: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of this folder on 127.0.0.1; raises EnvironmentProblem if the port is taken."""
    try:
        handler = functools.partial(_Handler, directory=str(site))
        return _Server(("127.0.0.1", port), handler)
    except OSError as problem:
        raise EnvironmentProblem(
            f"port {port} cannot be used ({problem.strerror}); choose another with --port"
        ) from None

"""A file server for looking at the site: loopback only, with HTTP ranges so that audio can be wound."""

from __future__ import annotations

import functools
import re
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class _Handler(SimpleHTTPRequestHandler):
    """Serves files with byte ranges, and the site's own page for what is not there."""

    def do_GET(self) -> None:
        """Answer with the file, the part of it that was asked for, or the 404 page."""
        path = Path(self.translate_path(self.path))
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted and path.is_file():
            self._send_part(path, *wanted.groups())
        else:
            super().do_GET()

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
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(end - start + 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def server(site: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of this folder on 127.0.0.1; raises EnvironmentProblem if the port is taken."""
    try:
        handler = functools.partial(_Handler, directory=str(site))
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as problem:
        raise EnvironmentProblem(
            f"port {port} cannot be used ({problem.strerror}); choose another with --port"
        ) from None

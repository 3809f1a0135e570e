"""The little server: loopback, ranges, no listings; and the commands."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import result, write
from typer.testing import CliRunner

from xbench.cli.commands import app
from xbench.errors import EnvironmentProblem, UsageError
from xbench.site import serve
from xbench.site.serve import server


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    (tmp_path / "index.html").write_text("home")
    (tmp_path / "clip.wav").write_bytes(bytes(range(100)))
    (tmp_path / "folder").mkdir()
    with server(tmp_path, 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        client = http.client.HTTPConnection(*running.server_address[:2], timeout=10)
        yield client
        client.close()
        running.shutdown()
        thread.join()


def get(
    client: http.client.HTTPConnection, path: str, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    client.request("GET", path, headers=headers)
    response = client.getresponse()
    return response.status, response.read(), dict(response.getheaders())


def test_it_serves_files_and_parts_of_them(connection: http.client.HTTPConnection) -> None:
    content = bytes(range(100))
    assert get(connection, "/")[:2] == (200, b"home")
    status, body, headers = get(connection, "/clip.wav", Range="bytes=10-19")
    assert (status, body) == (206, content[10:20])
    assert headers["Content-Range"] == "bytes 10-19/100"
    assert get(connection, "/clip.wav", Range="bytes=90-")[:2] == (206, content[90:])
    assert get(connection, "/clip.wav", Range="bytes=-5")[:2] == (206, content[95:])
    assert get(connection, "/clip.wav", Range="bytes=50-500")[:2] == (206, content[50:])
    assert get(connection, "/clip.wav", Range="bytes=100-")[0] == 416
    assert get(connection, "/clip.wav")[2]["Accept-Ranges"] == "bytes"


def test_it_lists_nothing_and_leaves_its_folder_never(
    connection: http.client.HTTPConnection, tmp_path: Path
) -> None:
    (tmp_path.parent / "secret.txt").write_text("secret")
    assert get(connection, "/folder/")[0] == 404
    assert get(connection, "/../secret.txt")[0] == 404
    assert get(connection, "/%2e%2e/secret.txt", Range="bytes=0-3")[0] == 404


def test_names_that_no_file_has_and_absurd_ranges_are_answered(
    connection: http.client.HTTPConnection,
) -> None:
    for path in ("/%00", "/clip.wav%00", "/" + "x" * 300, "/clip.wav/more"):
        assert get(connection, path)[0] == 404
    for ranges in (f"bytes={'9' * 5000}-", f"bytes=-{'9' * 5000}", "bytes=5-2,7-", "lines=1-2"):
        assert get(connection, "/clip.wav", Range=ranges)[:2] == (200, bytes(range(100)))
    assert get(connection, "/clip.wav", Range=f"bytes={'9' * 18}-")[0] == 416
    assert get(connection, "/clip.wav", Range="bytes=-0")[0] == 416


def test_what_is_not_there_is_told_by_the_sites_own_page(
    connection: http.client.HTTPConnection, tmp_path: Path
) -> None:
    assert b"Error response" in get(connection, "/nowhere.html")[1]
    page = (
        '<a href="index.html"></a><a href="https://x.org"></a><a href="#top"></a><img src="a.svg">'
    )
    (tmp_path / "404.html").write_text(page)
    shown = page.replace("index", "/index").replace("a.svg", "/a.svg").encode()
    for path in ("/nowhere.html", "/folder/", "/%00", "/deep/down/nowhere.html"):
        assert get(connection, path)[:2] == (404, shown)


def test_connections_that_say_nothing_are_closed_and_no_more_than_a_few_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve._Handler, "timeout", 0.2)
    monkeypatch.setattr(serve, "_MOST_CONNECTIONS", 2)
    (tmp_path / "index.html").write_text("home")
    with server(tmp_path, 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        idle = [socket.create_connection(running.server_address[:2], timeout=10) for _ in range(5)]
        assert [each.recv(10) for each in idle] == [b""] * 5  # closed by the server, none answered
        # A connection that was closed may still count for a moment, and whoever comes then is turned away.
        deadline = time.monotonic() + 10
        while True:
            client = http.client.HTTPConnection(*running.server_address[:2], timeout=10)
            try:
                assert get(client, "/")[:2] == (200, b"home")
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        client.close()
        for each in idle:
            each.close()
        running.shutdown()
        thread.join()


def test_it_listens_on_this_machine_only_and_tells_of_a_taken_port(tmp_path: Path) -> None:
    with server(tmp_path, 0) as running:
        address, port = running.server_address[:2]
        assert address == "127.0.0.1"
        with pytest.raises(EnvironmentProblem, match="--port"):
            server(tmp_path, int(port))


def test_the_commands_build_and_check(tmp_path: Path) -> None:
    inputs = write(tmp_path / "results", [result()])
    out = str(tmp_path / "site")
    made = CliRunner().invoke(app, ["leaderboard", "build", str(inputs), "--out", out])
    assert made.exit_code == 0, made.output
    assert CliRunner().invoke(app, ["leaderboard", "check", out]).exit_code == 0
    (tmp_path / "site" / "cost.html").write_text("changed")
    assert CliRunner().invoke(app, ["leaderboard", "check", out]).exit_code == 1


def test_bad_usage_is_told(tmp_path: Path) -> None:
    for arguments in (
        ["build", str(tmp_path / "none"), "--out", str(tmp_path / "site")],
        ["build", str(tmp_path), "--out", str(tmp_path / "site"), "--audio", "all"],
        ["build", str(tmp_path), "--out", str(tmp_path / "site"), "--base-url", "javascript:1"],
        ["serve", str(tmp_path)],
        ["check", str(tmp_path)],
    ):
        done = CliRunner().invoke(app, ["leaderboard", *arguments])
        assert isinstance(done.exception, UsageError), arguments

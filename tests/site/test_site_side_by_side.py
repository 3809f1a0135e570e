"""Work that is shared with copies of the process gives what it gives in one, and fails as it fails in one."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from synthetic import MORE_SCORES, many, result, write

from xbench.site import side_by_side as module
from xbench.site.side_by_side import hands, side_by_side

HERE = Path(__file__).parent
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux only")

# In a process of its own: the one of the tests has threads.
OF_ITS_OWN = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from xbench.site import side_by_side as module
module.os.sched_getaffinity = lambda _: range({cores})
{body}
"""


def in_a_process(body: str, cores: int = 3) -> str:
    code = OF_ITS_OWN.format(here=str(HERE), cores=cores, body=body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@ONLY_LINUX
def test_each_work_but_the_first_has_a_process_of_its_own() -> None:
    body = (
        "here = os.getpid()\n"
        "works = [lambda k=k: (k, os.getpid() == here) for k in range(3)]\n"
        "print(module.side_by_side(works))"
    )
    assert in_a_process(body) == "[(0, True), (1, False), (2, False)]"
    assert in_a_process(body, cores=1) == "[(0, True), (1, True), (2, True)]"


@ONLY_LINUX
def test_shares_come_back_in_the_order_of_the_items() -> None:
    body = (
        "here = os.getpid()\n"
        "def squares(items):\n"
        "    return [(item * item, os.getpid() == here) for item in items]\n"
        "found = module.in_shares(squares, range(7), 3)\n"
        "print([n for n, _ in found], [own for _, own in found].count(True), module.in_shares(squares, [], 3))"
    )
    # Three shares of seven: 0 3 6 here, 1 4 and 2 5 in copies.
    assert in_a_process(body) == "[0, 1, 4, 9, 16, 25, 36] 3 []"
    assert in_a_process(body, cores=1) == "[0, 1, 4, 9, 16, 25, 36] 7 []"


@ONLY_LINUX
@pytest.mark.parametrize(
    "fails", ["raise ValueError('broken')", "os.kill(os.getpid(), signal.SIGKILL)", "return open"]
)
def test_the_work_of_a_copy_that_fails_is_done_here(fails: str) -> None:
    # Only there: a bug, an end from outside, an answer that cannot be sent.
    body = (
        "here = os.getpid()\n"
        "def work():\n"
        "    if os.getpid() != here:\n"
        f"        {fails.replace('return open', 'return lambda: 0')}\n"
        "    return 'done'\n"
        "print(module.side_by_side([lambda: 'first', work]))"
    )
    assert in_a_process(body) == "['first', 'done']"


@ONLY_LINUX
def test_where_the_system_allows_no_copy_the_work_is_done_here() -> None:
    body = (
        "def refuse():\n"
        "    raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "module.os.fork = refuse\n"
        "print(module.side_by_side([lambda k=k: k for k in range(3)]))"
    )
    assert in_a_process(body) == "[0, 1, 2]"


@ONLY_LINUX
def test_an_interrupt_of_all_is_told_once_and_ends_all() -> None:
    """Ctrl-C reaches every process of a terminal: the copies say nothing, and end with the first."""
    body = (
        "import time\n"
        "here = os.getpid()\n"
        "def first():\n"
        "    time.sleep(0.5)\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "os.setpgrp()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a shell's background
        "try:\n"
        "    module.side_by_side([first, lambda: time.sleep(60)])\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', os.waitpid(-1, 0)[1] == signal.SIGKILL)"
    )
    assert in_a_process(body) == "interrupted True"


@ONLY_LINUX
def test_an_error_is_what_it_is_in_one_process() -> None:
    body = (
        "def work():\n"
        "    raise ValueError('of the work')\n"
        "try:\n"
        "    module.side_by_side([lambda: 0, work])\n"
        "except ValueError as problem:\n"
        "    print(problem)"
    )
    assert in_a_process(body) == "of the work"


def test_nothing_is_copied_where_other_threads_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: range(8), raising=False)
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        assert hands() == 1
        assert side_by_side([lambda: 1, lambda: 2]) == [1, 2]
    finally:
        stop.set()
        other.join()


@ONLY_LINUX
def test_a_site_is_the_same_bytes_by_one_process_and_by_several(tmp_path: Path) -> None:
    results = [*many(3_500), result(scores=MORE_SCORES, texts=("<b>", "x"))]
    folder = write(tmp_path / "results", results)
    (folder / "broken.json").write_text("{")
    body = (
        "import hashlib\n"
        "from xbench.site.build import Options, build\n"
        f"built = build([Path({str(folder)!r})], Path({str(tmp_path)!r}) / 'site-{{0}}', Options())\n"
        "print(len(built.refused))\n"
        "for file in sorted(p for p in built.folder.rglob('*') if p.is_file()):\n"
        "    print(file.relative_to(built.folder), hashlib.sha256(file.read_bytes()).hexdigest())"
    )
    one, three = (in_a_process(body.replace("{0}", str(n)), cores=n) for n in (1, 3))
    assert one.splitlines()[0] == "1"
    assert len(one.splitlines()) > 100
    assert one == three

"""The command line: thin over `xbench.evaluate` and the registries; imports no torch by itself.

Here is only what stands around a command: every way in which one can end becomes one message and an exit code. So
this module imports nothing that takes long before that frame stands.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
import threading
import time

# Objects that are made before Python looks for garbage. Its own 700 cost 0.8 s of the two that torch and transformers
# take to import, and a frozen heap another 0.6 s at the end, since all of it is memory that stays until then.
_OBJECTS = 20_000

_PATIENCE = 5.0  # seconds that a finished command waits for threads of plugins


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    gc.set_threshold(_OBJECTS)
    atexit.register(gc.freeze)
    code: object = None
    try:
        _run()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:  # while modules are imported, where no command can catch it
        code = 130
    except BrokenPipeError:
        # Who read the output has enough of it. What the command did is done; Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _end_without_threads_of_others(code)
    sys.exit(code)  # type: ignore[arg-type]


def _end_without_threads_of_others(code: object) -> None:
    """Let threads that a plugin left behind keep the finished command for some seconds, not until their own end."""
    here = threading.current_thread()
    left = [f"'{t.name}'" for t in threading.enumerate() if not (t.daemon or t is here)]
    if not left:
        return
    from xbench.cli import console

    def end() -> None:
        time.sleep(_PATIENCE)
        sys.stdout.flush()
        console.note(
            f"ended without waiting for what a plugin left at work: thread {', '.join(left)}"
        )
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))

    threading.Thread(target=end, daemon=True).start()


def _run() -> None:
    # Set before torch loads: no telemetry, no tokenizer threads beside torch's own.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # What a terminal cannot show becomes an escape: no finished run may fail at its last line.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from xbench.cli.commands import app
    from xbench.errors import EnvironmentProblem, UsageError, XbenchError, interpreter_failed

    try:
        app()
    except XbenchError as problem:
        _fail(str(problem), problem.exit_code)
    except BrokenPipeError:
        raise
    except OSError as problem:
        if problem.errno == errno.ENOMEM:
            _no_memory()
        if problem.filename is None:
            _bug()
        usage = problem.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
        kind = UsageError if usage else EnvironmentProblem
        _fail(f"{problem.filename}: {problem.strerror}", kind.exit_code)
    except Exception as problem:  # noqa: BLE001  # the last resort: a bug still ends with its exit code
        if interpreter_failed(problem):
            _end_at_once()
        if _out_of_memory(problem):
            _no_memory()
        _bug()


def _no_memory() -> None:
    _fail("out of memory; use a smaller --batch-size", 3)


def _end_at_once() -> None:
    """Say what happened and end with as little Python as possible: any further call may run the wrong function."""
    os.write(
        2,
        b"error: out of memory in Python itself, which cannot go on after that; what was computed is stored: run the "
        b"same command again with a smaller --batch-size, and it goes on where it stopped\n",
    )
    os._exit(3)


def _bug() -> None:
    import traceback

    traceback.print_exc()
    _fail("this is a bug in xbench or a plugin; please report the lines above", 3)


def _out_of_memory(problem: Exception) -> bool:
    if not isinstance(problem, RuntimeError):  # of torch, which is then loaded
        return isinstance(problem, MemoryError)
    from xbench.hiding.batching import out_of_memory

    return out_of_memory(problem)


def _fail(message: str, exit_code: int) -> None:
    from xbench.cli import console

    console.error(message)
    sys.exit(exit_code)

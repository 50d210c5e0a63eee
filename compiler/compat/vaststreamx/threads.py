"""What keeps a script from waiting for ever when one of its threads dies.

The scripts read results in a thread of their own, which is no daemon, while the main thread waits
for that thread's events. If either dies, the other would wait without end, and the process with it.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn
from weakref import WeakSet

from compiler.errors import ModcError

POLL_SECONDS: Final = 0.5  # between two looks at the other threads

_lock = threading.Lock()
_users: "WeakSet[threading.Thread]" = WeakSet()
_readers: "WeakSet[threading.Thread]" = WeakSet()


class StreamEndError(ValueError):
    """Everything was read; scripts catch a ValueError."""


@contextmanager
def reading() -> Iterator[None]:
    """Count this thread as one that waits for results."""
    thread = threading.current_thread()
    with _lock:
        _readers.add(thread)
    try:
        yield
    finally:
        with _lock:
            _readers.discard(thread)


def nobody_submits() -> bool:
    """Whether the main thread has ended, and all that keep the process alive wait for results."""
    main = threading.main_thread()
    if main.is_alive():
        return False
    with _lock:
        return all(
            thread.daemon or thread is main or thread in _readers
            for thread in threading.enumerate()
        )


def watch_this_thread() -> None:
    """End the process with a traceback, should this thread die of an exception.

    The main thread needs no watching: Python ends with it.
    """
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return
    with _lock:
        if not isinstance(threading.excepthook, _EndProcess):
            threading.excepthook = _EndProcess(threading.excepthook)
        _users.add(thread)


def end_process(error: BaseException | None) -> NoReturn:
    """Leave at once; other threads may wait for what will never come."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(error.exit_code if isinstance(error, ModcError) else 1)


def fail(error: BaseException) -> NoReturn:
    """Show an exception that no script can catch, and leave."""
    traceback.print_exception(error)
    end_process(error)


class _EndProcess:
    """`threading.excepthook` that ends the process after a thread that uses a stream.

    Not after one that has read everything: nobody waits for it.
    """

    def __init__(self, previous: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._previous = previous

    def __call__(self, args: threading.ExceptHookArgs) -> None:
        self._previous(args)
        if args.thread in _users and not issubclass(args.exc_type, SystemExit | StreamEndError):
            end_process(args.exc_value)

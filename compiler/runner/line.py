"""A production line of threads: prepare, then infer, in bounded queues, results in order.

    with Line(prepare, infer, preparers=2, instances=2, queue=8) as line:
        line.put("a.jpg")
        line.close()
        result = line.get()

Threads, not processes: decoding, resizing and inference all run outside Python's lock, and a
process would have to copy every tensor.

Queues are `SimpleQueue`s throughout: waiting in one can be interrupted (Ctrl-C), and putting into
one is allowed anywhere, also in the finalizer of an abandoned line.
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

from compiler.errors import ModcError

In = TypeVar("In")
P = TypeVar("P")
Out = TypeVar("Out")

_EXIT_SECONDS: Final = 5.0  # that the end of the program waits for what runs in abandoned lines


class DrainedError(Exception):
    """The line is closed and all its results were read, or it was cancelled."""


@dataclass(frozen=True)
class Result(Generic[In, Out]):
    """What became of one item.

    Args:
        index: Number of the item in order of `put`, from 0.
        source: The item.
        outputs: What `infer` gave for it; None if it failed.
        error: Why it failed; None if it did not. Its cause is the original exception, if that was
            no ModcError.
    """

    index: int
    source: In
    outputs: Out | None
    error: ModcError | None


class Line(Generic[In, P, Out]):
    """Items go in in order and come out in order; in between, threads work on several at once.

    All methods may be called from several threads. The threads end when the line is closed and
    its items are finished, when it is cancelled, and when nobody refers to the line any more.

    Args:
        prepare: Item → what `infer` takes; called by `preparers` threads at the same time.
        infer: Prepared items → one output each; called by `instances` threads at the same time.
        preparers: Threads that prepare.
        instances: Threads that infer.
        batch: Prepared items that one call of `infer` takes at most: what is ready when a thread
            is free. No call waits for more.
        queue: Items that the line holds at most; `put` waits when it is full.
        bound_unread: Whether finished items that nobody has read count as held.

    Raises:
        ValueError: A number below 1.
    """

    def __init__(
        self,
        prepare: Callable[[In], P],
        infer: Callable[[Sequence[P]], Sequence[Out]],
        *,
        preparers: int,
        instances: int,
        batch: int = 1,
        queue: int,
        bound_unread: bool = True,
    ) -> None:
        numbers = {"preparers": preparers, "instances": instances, "batch": batch, "queue": queue}
        if wrong := [name for name, number in numbers.items() if number < 1]:
            raise ValueError(f"{wrong[0]} {numbers[wrong[0]]} given; expected 1 or more")
        self._bound_unread = bound_unread
        self._reading = threading.Lock()
        self._next: _Item | None = None  # taken from the order, but not read yet
        self._work = _Work(prepare, infer, preparers, instances, batch, queue, not bound_unread)
        self._finalizer = weakref.finalize(self, self._work.abandon)
        self._work.start()

    def put(self, item: In) -> None:
        """Add an item; waits while the line is full.

        Raises:
            RuntimeError: The line was closed or cancelled, maybe while this waited.
        """
        self._work.put(item)

    def close(self) -> None:
        """Say that no more items come; those in the line are finished and can be read."""
        self._work.close()

    def get(self) -> Result[In, Out]:
        """The next result in order of `put`; waits for it.

        Raises:
            DrainedError: The line is closed and every result was read, or it was cancelled; at
                every further call, too.
        """
        with self._reading:
            if self._next is None:
                self._next = self._work.order.get()
            with self._next.finished:
                result = self._next.result
            if result is not None and not self._work.cancelled:
                self._next = None
        if result is None or self._work.cancelled:
            self._work.join()
            raise DrainedError("the line has no more results")
        if self._bound_unread:
            self._work.places.put(None)
        return result

    def wait(self) -> None:
        """Wait until everything that was put is finished, read or not."""
        self._work.wait()

    @property
    def cancelled(self) -> bool:
        return self._work.cancelled

    def cancel(self, *, wait: bool = True) -> None:
        """Drop what waits, finish what runs, and end the threads; wakes everybody who waits.

        Further calls do nothing.

        Args:
            wait: Until the threads have ended.
        """
        self._work.cancel()
        if wait:
            self._work.join()

    def __iter__(self) -> Iterator[Result[In, Out]]:
        """Results until the line is closed and drained."""
        with suppress(DrainedError):
            while True:
                yield self.get()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


# Any below: an item's value changes its type from stage to stage.
@dataclass(eq=False)
class _Item:
    """One item on its way."""

    index: int
    source: Any
    value: Any = None
    result: Result[Any, Any] | None = None  # None when finished: dropped, or the end of the line
    finished: threading.Lock = field(default_factory=_held)  # free when finished


_Inbox: TypeAlias = SimpleQueue[_Item | None]  # None: nothing follows


class _Stage:
    """Threads that take up to `most` items at a time; the last one to end calls `end`."""

    def __init__(
        self,
        name: str,
        work: Callable[[list[_Item]], None],
        *,
        threads: int,
        most: int = 1,
        end: Callable[[], None],
    ) -> None:
        self.inbox: _Inbox = SimpleQueue()
        self._work, self._most, self._end = work, most, end
        self._running = 0
        self._lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self._run, name=f"modc-{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()
            with self._lock:
                self._running += 1

    def _run(self) -> None:
        while items := self._take():
            self._work(items)
            items.clear()
        with self._lock:
            self._running -= 1
            is_last = self._running == 0
        if is_last:
            self._end()

    def _take(self) -> list[_Item]:
        """Wait for an item and take what else is there; nothing at the end."""
        items: list[_Item] = []
        item = self.inbox.get()
        while item is not None:
            items.append(item)
            if len(items) == self._most:
                return items
            try:
                item = self.inbox.get_nowait()
            except Empty:
                return items
        self.inbox.put(None)  # for the other threads
        return items


class _Work:
    """All that the threads know; they do not know the line, so that it can be abandoned."""

    def __init__(
        self,
        prepare: Callable[[Any], Any],
        infer: Callable[[Sequence[Any]], Sequence[Any]],
        preparers: int,
        instances: int,
        batch: int,
        queue: int,
        free_when_finished: bool,
    ) -> None:
        self._prepare, self._infer = prepare, infer
        self._free_when_finished = free_when_finished
        self._second = _Stage(
            "infer", self._infer_all, threads=instances, most=batch, end=lambda: None
        )
        self._first = _Stage(
            "prepare",
            self._prepare_all,
            threads=preparers,
            end=lambda: self._second.inbox.put(None),
        )
        self.order: SimpleQueue[_Item] = SimpleQueue()
        self.places: SimpleQueue[None] = SimpleQueue()
        for _ in range(queue):
            self.places.put(None)
        self.cancelled = False
        self._closed = False
        self._count = 0
        self._unfinished: dict[int, _Item] = {}
        self._putting = threading.RLock()  # a finalizer may run inside `put`

    def start(self) -> None:
        self._first.start()
        self._second.start()

    def put(self, source: object) -> None:
        self.places.get()
        with self._putting:
            if not self._closed:
                item = _Item(self._count, source)
                self._count += 1
                self._unfinished[item.index] = item
                self.order.put(item)
                self._first.inbox.put(item)
                return
        self.places.put(None)  # for others that wait in `put`
        raise RuntimeError("the line is closed; it takes no more items")

    def close(self) -> None:
        with self._putting:
            if self._closed:
                return
            self._closed = True
            end = _Item(self._count, None)
            end.finished.release()
            self.order.put(end)
            self._first.inbox.put(None)
            self.places.put(None)

    def cancel(self) -> None:
        self.cancelled = True
        self.close()

    def abandon(self) -> None:
        """Cancel a line that nobody can read; never waits, except at the end of the program.

        Python must not end while an engine computes: its threads cannot return then.
        """
        self.cancel()
        if not threading.main_thread().is_alive():
            self.join(seconds=_EXIT_SECONDS)

    def wait(self) -> None:
        with self._putting:
            unfinished = list(self._unfinished.values())
        for item in unfinished:
            with item.finished:
                pass

    def join(self, seconds: float | None = None) -> None:
        for thread in self._first.threads + self._second.threads:
            join_thread(thread, seconds)

    def _prepare_all(self, items: list[_Item]) -> None:
        for item in items:
            if self.cancelled:
                self._finish(item, None)
                continue
            item.value, error = _attempt(self._prepare, item.source)
            if error is None:
                self._second.inbox.put(item)
            else:
                self._fail(item, error)

    def _infer_all(self, items: list[_Item]) -> None:
        if self.cancelled:
            for item in items:
                self._finish(item, None)
            return
        outputs, error = _attempt(self._infer, [item.value for item in items])
        if error is None and len(outputs) != len(items):
            error = ValueError(f"{len(outputs)} outputs for {len(items)} items")
        if error is None:
            for item, output in zip(items, outputs, strict=True):
                self._finish(item, Result(item.index, item.source, output, None))
        elif len(items) == 1:
            self._fail(items[0], error)
        else:
            for item in items:  # which of them fails?
                self._infer_all([item])

    def _fail(self, item: _Item, error: BaseException) -> None:
        if not isinstance(error, ModcError):
            error = _wrapped(error, item)
        self._finish(item, Result(item.index, item.source, None, error))

    def _finish(self, item: _Item, result: Result[Any, Any] | None) -> None:
        item.value, item.result = None, result
        del self._unfinished[item.index]
        item.finished.release()
        if self._free_when_finished:
            self.places.put(None)


def join_thread(thread: threading.Thread, seconds: float | None = None) -> None:
    """Wait for the end of a thread, for so long at most, unless it was not started or is ours."""
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join(seconds)


def _attempt(function: Callable[[Any], Any], value: object) -> tuple[Any, BaseException | None]:
    """What a function gives, or raises: also SystemExit, which would end the thread."""
    try:
        return function(value), None
    except BaseException as error:
        return None, error


def _wrapped(error: BaseException, item: _Item) -> ModcError:
    is_file = isinstance(item.source, str | Path)
    wrapped = ModcError(
        f"failed: {type(error).__name__}: {error}",
        where=str(item.source) if is_file else f"item {item.index}",
        fix="look at the cause of this error, or leave the item out",
    )
    wrapped.__cause__ = error
    return wrapped

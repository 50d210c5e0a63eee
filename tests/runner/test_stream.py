"""Lines and streams: order, bounds, faults in their place, and no thread left behind."""

import gc
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import CalibrationError, ModcError
from compiler.runner.line import DrainedError, Line, Result
from compiler.runner.stream import Stream, stream

In = TypeVar("In")
Out = TypeVar("Out")
PROJECT = Path(__file__).resolve().parents[2]


def threads() -> list[str]:
    """Names of the threads that lines have."""
    return sorted(thread.name for thread in threading.enumerate() if "modc" in thread.name)


def wait_for(condition: Callable[[], bool]) -> bool:
    """Whether something becomes true; gives up after far more time than it can take."""
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    assert threads() == []
    yield
    assert threads() == []


def double(values: Sequence[int]) -> list[int]:
    return [2 * value for value in values]


def floats(values: Sequence[int]) -> list[float]:
    return [float(value) for value in values]


def half_line(**options: int) -> Line[str, int, int]:
    """Text of a number → twice that number."""
    numbers = {"preparers": 2, "instances": 2, "queue": 8} | options
    return Line(int, double, **numbers)  # type: ignore[arg-type]  # none of them is a bool


def outputs(results: Iterable[Result[In, Out]]) -> list[Out | None]:
    return [result.outputs for result in results]


def error_of(result: Result[In, Out]) -> ModcError:
    assert result.error is not None
    return result.error


def test_results_come_in_the_order_of_put_with_their_items() -> None:
    with half_line() as line:
        for text in ("3", "1", "2"):
            line.put(text)
        line.close()
        assert line.get() == Result(0, "3", 6, None)
        assert list(line) == [Result(1, "1", 2, None), Result(2, "2", 4, None)]


def test_a_drained_line_says_so_again_and_again_and_its_threads_are_gone() -> None:
    line = half_line()
    line.put("1")
    line.close()
    line.close()
    assert line.get().outputs == 2
    for _ in range(3):
        with pytest.raises(DrainedError):
            line.get()
        assert threads() == []
    assert list(line) == []


@pytest.mark.parametrize("end", [Line.close, Line.cancel])
def test_nothing_can_be_put_into_a_line_that_was_closed(end: Callable[[object], None]) -> None:
    with half_line() as line:
        end(line)
        with pytest.raises(RuntimeError, match="closed"):
            line.put("1")


@pytest.mark.parametrize("name", ["preparers", "instances", "batch", "queue"])
def test_numbers_below_one_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} 0 given"):
        half_line(**{name: 0})


def test_a_slow_early_item_holds_back_later_results_and_not_their_work() -> None:
    release, done = threading.Event(), []

    def prepare(number: int) -> int:
        if number == 0:
            release.wait(20)
        done.append(number)
        return number

    with Line(prepare, double, preparers=2, instances=1, queue=4) as line:
        for number in range(4):
            line.put(number)
        assert wait_for(lambda: sorted(done) == [1, 2, 3])
        release.set()
        line.close()
        assert outputs(iter(line)) == [0, 2, 4, 6]


def test_put_waits_while_the_line_is_full_of_unread_results() -> None:
    pulled = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            pulled.append(number)
            yield number

    results = stream(numbers(), prepare=int, infer=floats, instances=2, queue=5)
    with results:
        for read in range(1, 15):
            next(results)
            # 5 in the line, and one that the feeder holds in `put`
            assert wait_for(partial(lambda read: len(pulled) == read + 6, read))
        # what more would be pulled would have been by now
        assert len(pulled) == 20


def test_a_slow_reader_bounds_what_is_pulled_from_the_iterable() -> None:
    pulled: list[int] = []
    inferred: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            pulled.append(number)
            yield number

    def infer(values: Sequence[int]) -> Sequence[int]:
        inferred.extend(values)
        return values

    with stream(numbers(), prepare=int, infer=infer, instances=1, queue=3):
        assert wait_for(lambda: len(inferred) == 3)
        assert len(pulled) <= 4


def test_a_stream_holds_only_what_its_queue_allows() -> None:
    class Held:
        """Something that can be counted while it lives."""

    alive: weakref.WeakSet[Held] = weakref.WeakSet()

    def make(_: object) -> Held:
        alive.add(held := Held())
        return held

    def make_all(values: Sequence[Held]) -> list[Held]:
        return [make(value) for value in values]

    with stream(range(200), prepare=make, infer=make_all, instances=2, queue=4) as results:
        most = max(len(alive) for _ in results)
    # per item a prepared value or an output, or both for a moment; and the result just read
    assert most <= 2 * 4 + 2


def test_unread_results_do_not_count_where_only_unfinished_items_are_bounded() -> None:
    with half_line(queue=2, bound_unread=False) as line:
        for number in range(50):
            line.put(str(number))
        line.wait()
        line.close()
        assert outputs(iter(line)) == [2 * number for number in range(50)]


def test_unfinished_items_are_bounded_even_if_unread_ones_are_not() -> None:
    release, started = threading.Event(), []

    def prepare(number: int) -> int:
        started.append(number)
        release.wait(20)
        return number

    line = Line(prepare, double, preparers=4, instances=1, queue=2, bound_unread=False)
    with line:
        line.put(0)
        line.put(1)
        third = threading.Thread(target=line.put, args=(2,))
        third.start()
        assert wait_for(lambda: len(started) == 2)
        assert third.is_alive()
        release.set()
        third.join()
        line.wait()
        assert sorted(started) == [0, 1, 2]


def test_wait_returns_when_all_is_finished_and_needs_no_reader() -> None:
    finished: list[int] = []

    def infer(values: Sequence[int]) -> Sequence[int]:
        time.sleep(0.001)
        finished.extend(values)
        return values

    with Line(int, infer, preparers=1, instances=3, queue=20) as line:
        for number in range(20):
            line.put(number)
        line.wait()
        assert sorted(finished) == list(range(20))
        assert line.get().outputs == 0


def test_items_that_fail_give_their_errors_in_their_place() -> None:
    def infer(values: Sequence[int]) -> list[int]:
        return [12 // value for value in values]

    with Line(int, infer, preparers=2, instances=2, batch=3, queue=8) as line:
        for text in ("1", "0", "b.jpg", "3"):
            line.put(text)
        line.close()
        first, second, third, fourth = line
    assert (first.outputs, fourth.outputs) == (12, 4)
    assert second.outputs is third.outputs is None
    assert error_of(second).where == "0"
    assert "ZeroDivisionError" in error_of(second).what
    assert error_of(third).where == "b.jpg"
    assert "invalid literal" in str(third.error)
    assert isinstance(error_of(third).__cause__, ValueError)


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = CalibrationError("image is empty", where="a.jpg", fix="remove it")

    def prepare(path: str) -> int:
        raise error

    with stream(["a.jpg"], prepare=prepare, infer=floats, instances=1) as results:
        assert next(results) == Result(0, "a.jpg", None, error)


def test_an_item_without_a_name_is_named_by_its_number() -> None:
    with stream([b"1", b"?"], prepare=int, infer=floats, instances=1) as results:
        assert [result.error and error_of(result).where for result in results] == [None, "item 1"]


def test_code_that_wants_to_end_the_program_fails_its_item_only() -> None:
    def prepare(number: int) -> int:
        return number or sys.exit("no more")

    with stream([1, 0, 2], prepare=prepare, infer=floats, instances=1, preparers=1) as results:
        first, second, third = results
    assert (first.outputs, third.outputs) == (1.0, 2.0)
    assert "SystemExit: no more" in error_of(second).what


def test_a_batch_is_what_is_ready_and_its_neighbours_survive_a_failure() -> None:
    busy, prepared, calls = threading.Event(), threading.Event(), []

    def prepare(number: int) -> int:
        if number == 8:  # the only thread of its kind has handed on all others
            prepared.set()
        return number

    def infer(values: Sequence[int]) -> list[int]:
        calls.append(list(values))
        busy.set()
        prepared.wait(20)
        if 5 in values:
            raise ValueError("five")
        return double(values)

    with Line(prepare, infer, preparers=1, instances=1, batch=4, queue=20) as line:
        line.put(1)
        assert busy.wait(20)
        for number in (2, 3, 5, 6, 7, 8):
            line.put(number)
        line.close()
        results = list(line)
    assert calls[:6] == [[1], [2, 3, 5, 6], [2], [3], [5], [6]]
    assert [number for call in calls[6:] for number in call] == [7, 8]
    assert [result.outputs for result in results] == [2, 4, 6, None, 12, 14, 16]
    assert "five" in error_of(results[3]).what


def test_a_wrong_number_of_outputs_is_an_error_of_its_items() -> None:
    def nothing(_: Sequence[int]) -> list[int]:
        return []

    with Line(int, nothing, preparers=1, instances=1, queue=2) as line:
        line.put(1)
        assert "0 outputs for 1 items" in error_of(line.get()).what


def test_cancel_drops_what_waits_and_finishes_what_runs() -> None:
    release, started, finished = threading.Event(), [], []

    def prepare(number: int) -> int:
        started.append(number)
        release.wait(20)
        finished.append(number)
        return number

    line = Line(prepare, double, preparers=2, instances=1, queue=10)
    for number in range(10):
        line.put(number)
    assert wait_for(lambda: len(started) == 2)
    line.cancel(wait=False)
    release.set()
    line.cancel()
    line.cancel()
    assert threads() == []
    assert sorted(finished) == sorted(started) == [0, 1]
    line.wait()
    with pytest.raises(DrainedError):
        line.get()


def test_cancel_wakes_everybody_who_waits() -> None:
    release = threading.Event()
    line: Line[int, int, int] = Line(
        lambda _: release.wait(20), double, preparers=1, instances=1, queue=1
    )
    ends: list[type[Exception]] = []

    def note(call: Callable[[], object]) -> None:
        try:
            call()
        except (RuntimeError, DrainedError) as error:
            ends.append(type(error))

    line.put(0)
    calls: list[Callable[[], object]] = [line.get, line.get, line.wait]
    calls += [lambda: line.put(1), lambda: line.put(2)]
    waiting = [threading.Thread(target=note, args=(call,)) for call in calls]
    for thread in waiting:
        thread.start()
    line.cancel(wait=False)
    release.set()
    for thread in waiting:
        thread.join()
    assert sorted(kind.__name__ for kind in ends) == ["DrainedError"] * 2 + ["RuntimeError"] * 2
    line.cancel()


def test_several_readers_share_the_results() -> None:
    read: list[int] = []
    with half_line(queue=4) as line:
        readers = [
            threading.Thread(target=lambda: read.extend(result.outputs or 0 for result in line))
            for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        for number in range(100):
            line.put(str(number))
        line.close()
        for reader in readers:
            reader.join()
    assert sorted(read) == list(range(0, 200, 2))


def test_an_exception_of_the_iterable_is_raised_at_its_place() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the camera is gone")

    results = stream(numbers(), prepare=int, infer=floats, instances=2)
    assert [next(results).outputs, next(results).outputs] == [1.0, 2.0]
    with pytest.raises(OSError, match="camera"):
        next(results)
    assert threads() == []
    assert list(results) == []


def test_an_iterable_is_advanced_by_one_thread_only() -> None:
    advanced_by = []

    def numbers() -> Iterator[int]:
        for number in range(30):
            advanced_by.append(threading.current_thread().name)
            yield number

    with stream(numbers(), prepare=int, infer=floats, instances=3) as results:
        assert outputs(results) == list(range(30))
    assert set(advanced_by) == {"modc-feed"}


def test_what_is_no_iterable_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        stream(3, prepare=int, infer=floats, instances=1)  # type: ignore[arg-type]  # what is refused


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def test_closing_a_stream_early_ends_its_threads_and_its_results() -> None:
    results = stream(endless(), prepare=int, infer=floats, instances=2)
    assert next(results).outputs == 0
    results.close()
    results.close()
    assert threads() == []
    assert list(results) == []


def test_an_exception_in_the_reader_leaves_no_thread() -> None:
    def read() -> None:
        with stream(endless(), prepare=int, infer=floats, instances=2) as results:
            raise KeyError(next(results).index)

    with pytest.raises(KeyError, match="0"):
        read()
    assert threads() == []


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_an_abandoned_stream_ends_its_threads(in_a_cycle: bool) -> None:
    results = stream(endless(), prepare=int, infer=floats, instances=2)
    next(results)
    if in_a_cycle:
        results.itself = results  # type: ignore[attr-defined]  # no attribute of its own
    del results
    gc.collect()
    assert wait_for(lambda: threads() == [])


def test_an_abandoned_line_ends_its_threads() -> None:
    line = half_line()
    line.put("1")
    del line
    assert wait_for(lambda: threads() == [])


def test_a_hundred_starts_and_stops_leave_no_thread_and_no_file() -> None:
    files = Path("/proc/self/fd")
    if not files.is_dir():
        pytest.skip("this system does not list open files")
    before = sorted(files.iterdir())
    for round_ in range(100):
        results: Stream[int, float] = stream(endless(), prepare=int, infer=floats, instances=2)
        for index in range(round_ % 4):
            assert next(results).index == index
        results.close()
        assert threads() == []
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize("call", [Line.get, lambda line: line.put(0), Line.wait])
def test_ctrl_c_reaches_whoever_waits(call: Callable[[object], object]) -> None:
    """An interrupted wait leaves a line that can be cancelled."""
    release = threading.Event()
    line: Line[int, int, int] = Line(
        lambda _: release.wait(20), double, preparers=1, instances=1, queue=1
    )
    line.put(0)
    main = threading.main_thread().ident
    timer = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call(line)
    timer.join()
    release.set()
    line.cancel()


SCRIPT = """
import itertools, signal, threading, time
from compiler.runner.stream import stream
def work(number):
    time.sleep(0.01)
    return number
def work_all(numbers):
    return [work(number) for number in numbers]
{body}
"""


def run_script(body: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_program_that_abandons_a_stream_ends() -> None:
    result = run_script(
        "results = stream(itertools.count(), prepare=work, infer=work_all, instances=2)\n"
        "print(next(results).outputs)"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


def test_ctrl_c_in_a_loop_over_a_stream_ends_the_program() -> None:
    result = run_script(
        "main = threading.main_thread().ident\n"
        "def numbers():\n"
        "    yield from range(5)\n"
        "    signal.pthread_kill(main, signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "for result in stream(numbers(), prepare=work, infer=work_all, instances=2):\n"
        "    print(result.outputs, flush=True)"
    )
    assert result.returncode in (-signal.SIGINT, 130)
    assert result.stderr.rstrip().endswith("KeyboardInterrupt")


@settings(max_examples=60, deadline=None)
@given(
    delays=st.lists(st.tuples(*[st.sampled_from([0, 0, 0.0005, 0.002])] * 3), max_size=12),
    faults=st.sets(st.integers(0, 11)),
    sizes=st.tuples(*[st.integers(1, 4)] * 4),
)
def test_a_stream_gives_what_a_plain_loop_gives(
    delays: list[tuple[float, float, float]], faults: set[int], sizes: tuple[int, int, int, int]
) -> None:
    """Delays in preparing, inferring and reading; faults in preparing and inferring."""
    preparers, instances, batch, queue = sizes

    def prepare(index: int) -> int:
        time.sleep(delays[index][0])
        if index in faults and index % 2:
            raise ValueError("prepare")
        return index

    def infer(batch: Sequence[int]) -> list[int]:
        for index in batch:
            time.sleep(delays[index][1])
            if index in faults:
                raise ValueError("infer")
        return double(batch)

    with stream(
        range(len(delays)),
        prepare=prepare,
        infer=infer,
        instances=instances,
        batch=batch,
        queue=queue,
        preparers=preparers,
    ) as results:
        seen = []
        for result in results:
            time.sleep(delays[result.index][2])
            assert isinstance(result.error, ModcError) == (result.index in faults)
            seen.append((result.index, result.source, result.outputs))
    assert seen == [
        (index, index, None if index in faults else 2 * index) for index in range(len(delays))
    ]

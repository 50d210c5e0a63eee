"""`Stream`: runs a graph, at once (`run_sync`) or through queues (`run_async`).

Results of `run_async` come in order of submission. Every registered output has its own queue, with
one item per call. Input is bounded, so that a producer waits; output is not, because scripts wait
for the end of the work before they read the rest of it.

Reading must never fail in another way than by the `ValueError` of the end: scripts catch that one
alone, in a thread for which the main thread waits. So a sample that fails in a worker, and a thread
that dies while it uses a stream, end the process (see `threads`).
"""

import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias, TypeVar

import numpy as np

from compiler.compat.delivery import deliver
from compiler.compat.vaststreamx.containers import Array, Tensor
from compiler.compat.vaststreamx.enums import StreamBalanceMode, TypeFlag
from compiler.compat.vaststreamx.feeds import Feeds
from compiler.compat.vaststreamx.graph import Graph
from compiler.compat.vaststreamx.model import Model
from compiler.compat.vaststreamx.operators import BuildInOperator, ModelOperator, Operator
from compiler.compat.vaststreamx.refusal import refusal
from compiler.compat.vaststreamx.samples import Given, Parameters, Sample, Samples
from compiler.compat.vaststreamx.threads import (
    POLL_SECONDS,
    StreamEndError,
    fail,
    nobody_submits,
    reading,
    watch_this_thread,
)
from compiler.runner.cpu import cpus
from compiler.runner.line import Line
from compiler.runner.load import Runner

AnyOperator: TypeAlias = Operator | ModelOperator
Item: TypeAlias = list[list[Tensor]]  # of one call: per sample, its tensors
Done: TypeAlias = tuple[Feeds, list[Array]]  # of one sample: what went in, what came out
Registered: TypeAlias = Sequence[Sequence[tuple[Sequence[int], TypeFlag]]]
T = TypeVar("T")
R = TypeVar("R")

_END: Final = None


class Stream:
    """A graph at work.

    Args:
        graph: What to run.
        mode: The same on a CPU.
    """

    def __init__(self, graph: Graph, mode: StreamBalanceMode = StreamBalanceMode.ONCE) -> None:
        del mode
        self._graph = graph
        self._outputs: dict[object, _Output] = {}
        self._parts: _Parts | None = None

    def register_operator_output(
        self,
        name: str | AnyOperator,
        operator: AnyOperator | None = None,
        shapes: Registered = (),
    ) -> None:
        """Keep the results of an operator for `get_operator_output`.

        Args:
            name: What to ask by; or the operator itself.
            operator: The model, or the image operator; left out if it is given first.
            shapes: Of the image operator, per sample: what its result is, which a device has to be
                told; here it is (channels, height, width) and float16 in any case.

        Raises:
            BundleError: No operator; or the stream is built already.
        """
        del shapes
        source = name if operator is None else operator
        if not isinstance(source, Operator | ModelOperator) or self._parts is not None:
            raise refusal(
                "Stream.register_operator_output",
                f"{source!r} given" if self._parts is None else "called after build",
                "give an operator of the graph, before build",
            )
        is_model = isinstance(source, ModelOperator)
        self._outputs[name] = self._outputs[source] = _Output(
            _model_item if is_model else _prepared_item
        )

    def build(self) -> None:
        """Check the graph and start the workers.

        Raises:
            BundleError: Operators that make no graph.
        """
        outputs = list(dict.fromkeys(self._outputs.values()))
        self._parts = _Parts(*self._graph.parts(), outputs, flat=self._graph.flattens)
        weakref.finalize(self, self._parts.line.close)

    def run_sync(
        self, samples: Sequence[Given], params: Parameters | None = None
    ) -> list[list[Tensor]]:
        """Outputs of every sample, apart from the queues.

        Args:
            samples: Images, or lists of tensors with one for each input of the model.
            params: Run parameters, a list with one value per sample each: `rgb_letterbox_ext`
                (resize_w, resize_h, top, bottom, left, right), `crop_resize_ext` (crop_x, crop_y,
                resize_w, resize_h), `dynamic_model_input_shapes` (one shape per input). Those that
                are unknown or do not fit the operator are ignored.

        Raises:
            ModcError: Samples that do not fit, or a run that fails.
        """
        watch_this_thread()
        parts = self._built("run_sync")
        checked = parts.samples.read(samples, params or {})
        return _model_item([parts.infer(sample()) for sample in checked])

    def run_async(self, samples: Sequence[Given], params: Parameters | None = None) -> None:
        """Submit samples; waits while the input queue is full.

        Args:
            samples: As of `run_sync`.
            params: As of `run_sync`.

        Raises:
            ModcError: Samples that do not fit, or the input is closed.
        """
        watch_this_thread()
        parts = self._built("run_async")
        checked = parts.samples.read(samples, params or {})
        try:
            parts.line.put(checked)
        except RuntimeError as error:
            raise refusal(
                "Stream.run_async", "the input is closed", "submit before close_input"
            ) from error

    def get_operator_output(self, operator: str | AnyOperator) -> Item:
        """The next results of a registered operator; waits for them.

        Args:
            operator: What was registered.

        Returns:
            For every sample of the call, the operator's tensors.

        Raises:
            ValueError: The input is closed and everything was read, and at every later call. When
                the main thread has ended, and no thread is left to submit, the input is closed.
            BundleError: Nothing was registered by this name.
        """
        watch_this_thread()
        if operator not in self._outputs:
            raise refusal(
                "Stream.get_operator_output",
                f"{operator!r} is not registered",
                "register it before build",
            )
        output = self._outputs[operator]
        return output.get(self._parts.line.close if self._parts else output.end)

    def close_input(self) -> None:
        """Say that nothing more will be submitted."""
        self._built("close_input").line.close()

    def wait_until_done(self) -> None:
        """Wait until all that was submitted is finished, read or not."""
        self._built("wait_until_done").line.wait()

    def _built(self, call: str) -> "_Parts":
        if self._parts is None:
            raise refusal(f"Stream.{call}", "the stream is not built", "call build first")
        return self._parts


class _Parts:
    """What a built stream consists of; the line does not know it, so that both can be dropped."""

    def __init__(
        self,
        operator: BuildInOperator | None,
        model: Model,
        outputs: "list[_Output]",
        *,
        flat: bool,
    ) -> None:
        self.samples = Samples(operator, model)
        self.infer = infer = partial(_infer, model.runner, flat)
        workers = cpus() + model.runner.instances
        self.line: Line[list[Sample], list[Feeds], list[Done]] = Line(
            _or_end_process(lambda samples: [sample() for sample in samples]),
            _or_end_process(lambda calls: [[infer(feeds) for feeds in call] for call in calls]),
            preparers=cpus(),
            instances=model.runner.instances,
            queue=2 * workers,
            bound_unread=False,
        )
        threading.Thread(
            target=_distribute, args=(self.line, outputs), name="modc-outputs", daemon=True
        ).start()


class _Output:
    """The queue of a registered output."""

    def __init__(self, item: Callable[[Sequence[Done]], Item]) -> None:
        self._item = item
        self._queue: SimpleQueue[Item | None] = SimpleQueue()

    def put(self, call: Sequence[Done]) -> None:
        self._queue.put(self._item(call))

    def end(self) -> None:
        self._queue.put(_END)

    def get(self, close: Callable[[], object]) -> Item:
        """The next item; calls `close` when nothing can come any more."""
        with reading():
            while True:
                try:
                    item = self._queue.get(timeout=POLL_SECONDS)
                except Empty:
                    if nobody_submits():
                        close()
                    continue
                if item is _END:
                    self.end()  # for further calls
                    raise StreamEndError("the stream has ended: every output was read")
                return item


def _infer(runner: Runner, flat: bool, feeds: Feeds) -> Done:
    arrays = deliver(runner.infer(feeds), runner.outputs)
    return feeds, [array.reshape(-1) for array in arrays] if flat else arrays


def _distribute(line: Line[list[Sample], list[Feeds], list[Done]], outputs: list[_Output]) -> None:
    """Hand the results of the line to all outputs, until it is drained."""
    for result in line:
        for output in outputs:
            output.put(result.outputs or [])  # never None: a worker that fails ends the process
    for output in outputs:
        output.end()


def _or_end_process(work: Callable[[T], R]) -> Callable[[T], R]:
    """The work of a worker; the script could not learn of its failure."""

    def guarded(value: T) -> R:
        try:
            return work(value)
        except BaseException as error:
            fail(error)

    return guarded


def _model_item(call: Sequence[Done]) -> Item:
    return [[Tensor(array) for array in arrays] for _, arrays in call]


def _prepared_item(call: Sequence[Done]) -> Item:
    """What went into the model, without batch axis, as the image operator of a device leaves it."""
    return [
        [Tensor(array.reshape(array.shape[1:]).astype(np.float16)) for array in feeds.values()]
        for feeds, _ in call
    ]

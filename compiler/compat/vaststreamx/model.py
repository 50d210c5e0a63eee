"""`Model`: a bundle that a script loads by its prefix."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.compat.vaststreamx.refusal import refusal
from compiler.runner.engine import EngineChoice
from compiler.runner.load import Runner
from compiler.runner.manifest import TensorSpec


@dataclass(frozen=True)
class Loading:
    """How bundles are loaded, which a script cannot say.

    Args:
        engine: As of `Runner`.
        threads: As of `Runner`.
        instances: Samples of one model that run at the same time.
    """

    engine: EngineChoice | None = None
    threads: int | None = None
    instances: int = 1


_loading = Loading()


def load_models_with(loading: Loading) -> None:
    """Set how every `Model` made from now on is loaded."""
    global _loading
    _loading = loading


class Model:
    """A loaded bundle.

    Args:
        prefix: As of `Runner`, relative to the current directory.
        batch_size: Any number: samples run one by one.
        hw_config: Not used.

    Raises:
        ModcError: As of `Runner`.
    """

    def __init__(self, prefix: str | Path, batch_size: int = 1, hw_config: object = "") -> None:
        del hw_config
        if not isinstance(prefix, str | Path):
            raise refusal("Model", f"{type(prefix).__name__} given", "give the bundle's prefix")
        self.runner = Runner(
            prefix,
            engine=_loading.engine,
            threads=_loading.threads,
            instances=_loading.instances,
        )
        self._input_shape = [_largest(spec) for spec in self.runner.inputs]
        self.set_batch_size(batch_size)

    @property
    def input_shape(self) -> list[list[int]]:
        """One shape per input; of an input with a range the largest, unless one was set."""
        return [list(shape) for shape in self._input_shape]

    @property
    def output_shape(self) -> list[list[int]]:
        """One shape per output, as in the graph; -1 where a size is open."""
        return [list(spec.shape) for spec in self.runner.outputs]

    @property
    def input_count(self) -> int:
        return len(self.runner.inputs)

    @property
    def output_count(self) -> int:
        return len(self.runner.outputs)

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def max_batch_size(self) -> int:
        """What was asked for: a batch of any size runs, one sample after another."""
        return self._batch_size

    def set_batch_size(self, batch_size: int) -> None:
        """Take note of a batch size.

        Raises:
            BundleError: Less than 1.
        """
        if batch_size < 1:
            raise refusal("Model", f"batch size {batch_size} given", "give 1 or more")
        self._batch_size = batch_size

    def set_input_shape(self, shapes: Sequence[Sequence[int]]) -> None:
        """Choose the shapes that `input_shape` gives and images are prepared for.

        Args:
            shapes: One per input, within the bundle's ranges.

        Raises:
            BundleError: Shapes that the bundle does not take.
        """
        self.check_shapes("Model.set_input_shape", shapes)
        self._input_shape = [[int(size) for size in shape] for shape in shapes]

    def check_shapes(self, call: str, shapes: Sequence[Sequence[int]]) -> None:
        """Refuse shapes that the bundle does not take, and what is no list of shapes."""
        specs = self.runner.inputs
        try:
            fit = all(spec.takes(shape) for spec, shape in zip(specs, shapes, strict=True))
        except (TypeError, ValueError):  # no shapes, or another number of them
            fit = False
        if not fit:
            raise refusal(
                call, f"shapes {shapes} given", f"the bundle takes {', '.join(map(str, specs))}"
            )


def _largest(spec: TensorSpec) -> list[int]:
    return [largest for _, largest in spec.ranges]

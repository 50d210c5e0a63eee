"""One pass over the calibration samples: every observed tensor into its histogram."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from calibration.histogram import Histogram

Arrays = Mapping[str, NDArray[Any]]  # any real dtype; histograms count in float32
Run = Callable[[Arrays], Arrays | Iterable[tuple[str, NDArray[Any]]]]


def collect(
    run: Run, samples: Iterable[Arrays], *, on_sample: Callable[[int], None] | None = None
) -> dict[str, Histogram]:
    """Histograms of all tensors that `run` returns, over all samples.

    Memory does not depend on the number of samples: an array is dropped as soon as it is counted,
    and all arrays of a sample are gone before the next one runs. NaN and infinite values are
    counted in `Histogram.bad`.

    Args:
        run: Runs the network on one sample; returns the observed tensors by name, all at once or,
            to hold fewer of them, as pairs one after another.
        samples: Inputs of the network by name; read once.
        on_sample: Called after each sample with the number of samples done, to show progress.

    Returns:
        Histograms by tensor name; the same bits whatever the order of the samples.

    Raises:
        ValueError: There are no samples.
    """
    histograms: dict[str, Histogram] = {}
    done = 0
    for done, sample in enumerate(samples, start=1):
        for name, array in _one_by_one(run(sample)):
            histograms.setdefault(name, Histogram()).add(array)
            del array  # before `run` makes the next one
        if on_sample is not None:
            on_sample(done)
    if not done:
        raise ValueError("no calibration samples: at least one is needed")
    return histograms


def _one_by_one(
    outputs: Arrays | Iterable[tuple[str, NDArray[Any]]],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and array of each output, holding on to none that was handed out."""
    if not isinstance(outputs, Mapping):
        yield from outputs
        return
    owned = dict(outputs)
    del outputs
    for name in list(owned):
        yield name, owned.pop(name)

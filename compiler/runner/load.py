"""Run a bundle: tensors or images in, output tensors out.

    with Runner("deploy_weights/official_unet3p_int8/mod", threads=2) as runner:
        outputs = runner.run(["a.jpg", "b.jpg"])  # {"output": (2, 1, 128, 128) float32}
        for result in runner.stream(Path("images").iterdir()):
            print(result.index, result.error or result.outputs["output"].shape)

Needs numpy and an engine; the image library is imported when the first image is given.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from compiler.errors import BundleError, ModcError
from compiler.runner.batches import most_together, run_together
from compiler.runner.cpu import cpus, run_warnings
from compiler.runner.engine import (
    ENGINES,
    EngineChoice,
    EngineName,
    Provider,
    Session,
    Tensor,
    open_session,
)
from compiler.runner.html_table import html_table
from compiler.runner.inputs import Given, Inputs
from compiler.runner.manifest import Manifest, Preprocessing, TensorSpec
from compiler.runner.read import Bundle, use_bundle

if TYPE_CHECKING:
    from compiler.preprocess.chain import Chain
    from compiler.runner.stream import Stream

_LOG = logging.getLogger(__name__)
_MOST_THREADS: Final = 1024


class Runner:
    """A bundle, loaded and checked.

    `run`, `prepare` and `infer` may be called from several threads.

    Args:
        prefix: `…/<name>/mod`, `…/<name>` or `…/<name>/mod.json`.
        engine: "onnxruntime", "openvino", or "auto": the faster one, as measured on this machine
            and remembered; None is what the bundle names.
        threads: Threads of one operator, 1 to 1024; None shares the CPUs that this process may use
            among the instances.
        instances: Samples that will run at the same time, 1 to 1024, each with so many threads.
        providers: ONNX Runtime execution providers in order of preference, by full or short name
            ("CUDA"), alone or as (name, options); a plain string is one; None is the CPU. They
            make ONNX Runtime the engine, unless `engine` names another, which is an error.
        vdsp_params: JSON of a vdsp operator to prepare images with, in place of the bundle's own
            preprocessing; where the two differ, the log warns with both formulas.
        check: Compare the contents of every file with its hash; False compares sizes only.
        allow_custom_code: Whether the bundle's preprocessing may import and call a Python file.

    Raises:
        BundleError: No bundle there; torn, edited, of a newer format, or not loadable; or a wrong
            number of threads or instances, or engine.
        BuildFileError: `vdsp_params` cannot be read.
        MissingRequirementError: An engine or provider is absent; the error says how to get it.
    """

    def __init__(
        self,
        prefix: str | Path,
        *,
        engine: EngineChoice | None = None,
        threads: int | None = None,
        instances: int = 1,
        providers: Sequence[Provider] | None = None,
        vdsp_params: str | Path | None = None,
        check: bool = True,
        allow_custom_code: bool = False,
    ) -> None:
        if threads is not None:
            _check_count("threads", threads, prefix)
        _check_count("instances", instances, prefix)
        if engine not in (None, "auto", *ENGINES):
            raise BundleError(
                f"no engine {engine!r}", where=str(prefix), fix=f"one of {', '.join(ENGINES)}, auto"
            )
        self.threads = threads or max(1, cpus() // instances)
        self.instances = instances
        self._vdsp_params = vdsp_params
        self._allow_custom_code = allow_custom_code

        def load(bundle: Bundle) -> tuple[Bundle, EngineName, Session]:
            return (bundle, *self._load(bundle, engine, providers, check=check))

        self.bundle, self.engine, session = use_bundle(prefix, load, check=check)
        self._session: Session | None = session
        if session.on_cpu:
            for warning in run_warnings(self.manifest.quantization, self.engine):
                _LOG.warning("%s: %s", self.bundle.prefix, warning)
        self._inputs = Inputs(
            self.inputs,
            self._find_chain,
            takes_images=vdsp_params is not None or self.manifest.preprocessing is not None,
            where=str(self.bundle.prefix),
        )

    def _repr_html_(self) -> str:
        runs = ("runs on", f"{self.engine}, {self.instances} × {self.threads} threads")
        return html_table(f"{self.manifest.name}, loaded", (*self.bundle.facts(), runs))

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.outputs

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What images go through; None where only tensors can be given.

        Raises:
            BuildFileError: `vdsp_params` cannot be used.
            BundleError: The bundle's own chain needs custom code that is not allowed.
        """
        if self._vdsp_params is None and self.manifest.preprocessing is None:
            return None
        chain = self._inputs.chain()
        return Preprocessing(tuple(chain.to_list()), chain.shape)

    def run(self, inputs: Given) -> dict[str, Tensor]:
        """Outputs by name, one sample after another, joined along their leading 1.

        Args:
            inputs: Tensors by input name; or the tensor of the only input; or one image or a
                sequence of them: paths, bytes of files, or RGB uint8 arrays (H, W, 3), which go
                through the preprocessing. A tensor has the input's shape, or that shape without
                its leading 1, or with N in its place. A uint8 array is an image unless it is a
                tensor for an input that is uint8 itself.

        Raises:
            BundleError: Wrong type, name, shape or dtype (the error lists what is expected);
                several samples where an output has no leading 1, or has another size for each;
                or a run that fails.
            CalibrationError: An image that cannot be read, or does not fit the preprocessing.
            MissingRequirementError: An image, and no image library is installed.
        """
        count, samples = self._inputs.samples(inputs)
        if count > 1:
            self._check_joinable()
        results = [self.infer(sample) for sample in samples]
        if count == 1:
            return results[0]
        return {name: self._join(name, [result[name] for result in results]) for name in results[0]}

    def prepare(self, item: Given) -> dict[str, Tensor]:
        """Feeds of one sample, from an image or from tensors, as `run` takes them.

        Raises:
            BundleError: As `run`, or several samples given.
            CalibrationError: As `run`.
        """
        return self._inputs.one(item)

    def infer(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name for the feeds of one sample, as `prepare` gives them.

        Raises:
            BundleError: Wrong name, shape or dtype; the run fails, or the runner is closed.
        """
        session = self._session
        if session is None:
            raise self._error("the runner is closed", "run inside its 'with' block")
        self._inputs.check(feeds)
        try:
            return session.run(feeds)
        except Exception as error:  # engines' errors have no common base
            raise self._error(
                f"the network failed: {error}", "check sizes and values of the inputs"
            ) from error

    def infer_many(self, samples: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Outputs of several samples: in one run where the batch dimension is open, else in turns.

        Args:
            samples: Feeds, as `prepare` gives them.

        Raises:
            BundleError: As `infer`.
        """
        return run_together(self.infer, samples, most_together(self.inputs))

    def stream(
        self,
        items: Iterable[Given],
        *,
        instances: int | None = None,
        batch: int = 1,
        queue: int | None = None,
    ) -> "Stream[Given, dict[str, Tensor]]":
        """Results of many samples in their order, while others are prepared and run.

        Args:
            items: Images, or tensors of one sample; taken one by one, as there is room.
            instances: Samples, or batches, that run at the same time; None is what the runner was
                loaded for, which gives each its share of the CPUs.
            batch: Samples that an instance takes at a time, as they are ready; they run together
                where the network's batch dimension is open.
            queue: Most items taken and not yet given back, apart from one that waits for a place;
                None is enough to keep all CPUs busy.

        Returns:
            An iterator over `compiler.runner.line.Result`: an item that fails has an error in
            place of outputs, and the others go on. Close it, or use it in a `with` block, to stop
            early.

        Raises:
            BundleError: instances, batch or queue is no positive number; or a single image or
                sample in place of several.
        """
        from compiler.runner.stream import stream

        instances = self.instances if instances is None else instances
        _check_count("instances", instances, self.bundle.prefix)
        _check_count("batch", batch, self.bundle.prefix)
        if queue is not None:
            _check_count("queue", queue, self.bundle.prefix)
        if isinstance(items, str | bytes | Path | Mapping):
            raise self._error(f"{type(items).__name__} given to stream", "give a list of samples")
        return stream(
            items,
            prepare=self.prepare,
            infer=self.infer_many,
            instances=instances,
            batch=batch,
            queue=queue,
        )

    def close(self) -> None:
        """Free the network's memory; the runner cannot run afterwards."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load(
        self,
        bundle: Bundle,
        engine: EngineChoice | None,
        providers: Sequence[Provider] | None,
        *,
        check: bool,
    ) -> tuple[EngineName, Session]:
        bfloat16 = bundle.manifest.quantization.get("dtype") == "bf16"
        choice = engine or bundle.manifest.engine
        if providers and engine in (None, "auto"):
            choice = "onnxruntime"
        if choice == "auto":
            from compiler.runner.choose_engine import choose

            choice = choose(
                bundle, threads=self.threads, instances=self.instances, bfloat16=bfloat16
            )
        try:
            return choice, open_session(
                choice,
                bundle.model,
                threads=self.threads,
                instances=self.instances,
                providers=providers,
                bfloat16=bfloat16,
                digest=bundle.digest if check else None,
            )
        except ModcError:
            raise
        except Exception as error:  # engines' errors have no common base
            raise BundleError(
                f"{choice} cannot load it: {error}",
                where=str(bundle.model),
                fix=f"update {choice}, or build the bundle again with the installed one",
            ) from error

    def _find_chain(self) -> "Chain":
        from compiler.runner.preprocessing import find_chain  # brings the image library

        return find_chain(self.bundle, self._vdsp_params, allow_custom_code=self._allow_custom_code)

    def _check_joinable(self) -> None:
        open_batch = any(spec.shape[:1] == (-1,) for spec in self.inputs)
        for spec in self.outputs:
            if spec.shape[:1] != (1,) and not (open_batch and spec.shape[:1] == (-1,)):
                raise self._not_joinable(spec.name, spec.shape)

    def _join(self, name: str, results: Sequence[Tensor]) -> Tensor:
        for result in results:
            if result.shape[:1] != (1,):  # the declared shape was wrong
                raise self._not_joinable(name, result.shape)
            if result.shape != results[0].shape:
                raise self._error(
                    f"output {name} has shape {list(results[0].shape)} for one sample and "
                    f"{list(result.shape)} for another, so that they cannot be joined",
                    "run the samples one by one",
                )
        return np.concatenate(results)

    def _not_joinable(self, name: str, shape: Sequence[int]) -> BundleError:
        return self._error(
            f"output {name} of shape {list(shape)} has no batch dimension of 1, so that the "
            "results of several samples cannot be joined",
            "run the samples one by one",
        )

    def _error(self, what: str, fix: str) -> BundleError:
        return BundleError(what, where=str(self.bundle.prefix), fix=fix)


def _check_count(name: str, count: object, prefix: str | Path) -> None:
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not (whole and 1 <= count <= _MOST_THREADS):  # type: ignore[operator]  # whole says that it is a number
        raise BundleError(
            f"{name} {count!r} asked for",
            where=str(prefix),
            fix=f"give a whole number from 1 to {_MOST_THREADS}",
        )

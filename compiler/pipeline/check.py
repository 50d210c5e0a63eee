"""Everything that a build would complain about, found in seconds, without building.

Each part is looked at by the code of the build itself. One that fails becomes a finding, and the
parts that do not need it are looked at all the same.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig, Verify
from compiler.config.paths import resolve_output
from compiler.errors import BundleError
from compiler.pipeline.accuracy import find_measure
from compiler.pipeline.cache import StageCache, default_folder
from compiler.pipeline.check_data import check_masks, check_pairs, load_some
from compiler.pipeline.check_findings import Collector, Finding, Level
from compiler.pipeline.check_graph import Draft, Forecast, draft_network
from compiler.pipeline.clock import Clock
from compiler.pipeline.detections import find_detections, refuse_declined
from compiler.pipeline.network import postprocessing_of
from compiler.pipeline.optimize import cost_model
from compiler.pipeline.prepare import Prepared, prepare
from compiler.pipeline.record import check_delivery, inputs_of, specs_of
from compiler.pipeline.remarks import data_notes, engine_notes, image_warnings
from compiler.pipeline.samples import (
    Feeds,
    Samples,
    declared_inputs,
    find_build_samples,
    random_feeds,
)
from compiler.pipeline.sessions import engine_version, open_model
from compiler.pipeline.task import find_task
from compiler.pipeline.verification import check_smallest
from compiler.preprocess.chain import Chain
from compiler.runner.cpu import build_warning, check_dtype

IMAGES: Final = 8
"""Files to decode, of each kind."""

TRIAL_SECONDS: Final = 3.0
"""A network that would take longer for all decoded files is observed on fewer of them."""

LINT_IMAGES: Final = 4
LINT_RUNS: Final = 2 * 10 * LINT_IMAGES
"""About ten alternatives, each with the mirrored image."""

LINT_SECONDS: Final = 20.0
"""Of one thread; other preprocessing is not tried with a network that would take longer."""

Verdict = Literal["fine", "warnings", "errors"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about one build file.

    Args:
        file: The build file, as given.
        name: Of its bundle; empty where the file cannot be understood.
        dtype: Its precision; empty likewise.
        bundle: Folder that a build would write; empty where it cannot.
        findings: What is to be said, part by part.
        forecast: The network before and after a build; None where that cannot be found out.
        strict: Whether warnings fail.
        seconds: Time that the check took.
    """

    file: str
    name: str
    dtype: str
    bundle: str
    findings: tuple[Finding, ...]
    forecast: Forecast | None
    strict: bool
    seconds: float

    def count(self, level: Level) -> int:
        """Number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)

    @property
    def verdict(self) -> Verdict:
        """The worst level, notes aside."""
        return "errors" if self.count("error") else "warnings" if self.count("warning") else "fine"

    @property
    def exit_code(self) -> int:
        """That of the worst error, that is the highest; 2 for warnings that fail; else 0."""
        warned = 2 if self.strict and self.count("warning") else 0
        return max((finding.code for finding in self.findings), default=0) or warned


def check_build(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    dtype: str | None = None,
    lenient: bool = False,
    strict: bool = False,
    allow_custom_code: bool = False,
    images: int = IMAGES,
    lint: bool = True,
    earlier: Sequence[Check] = (),
) -> Check:
    """Look at everything that a build file names, and foresee what becomes of its network.

    Example:
        for finding in check_build("build_configs/official_unet3p.yaml").findings:
            print(finding.place, finding.level, finding.what)

    Args:
        path: Build file.
        overrides: As `load_config`, as are `dtype`, `lenient` and `strict`.
        dtype: Precision in place of the file's.
        lenient: Unknown keys warn.
        strict: Warnings fail.
        allow_custom_code: Let a CustomFunc of the build file run its Python code.
        images: Files to decode, of each kind.
        lint: Whether to run the network on a few images under other preprocessing.
        earlier: Checks of the build files that are compiled before this one.

    Returns:
        The findings. Nothing that is wrong with the file or what it names raises.
    """
    started = time.perf_counter()
    findings = Collector(str(path))
    config = findings.attempt(
        "build file", findings.read, overrides, dtype=dtype, lenient=lenient, strict=strict
    )
    forecast, bundle = None, ""
    if config is None:
        findings.note("build file", ["the network and the data could not be looked at"])
    else:
        with tempfile.TemporaryDirectory(prefix="modc_check_") as folder:
            checker = _Checker(
                config, findings, Path(folder), images, strict, allow_custom_code, lint
            )
            bundle = findings.attempt("bundle", _bundle, config) or ""
            findings.warn("bundle", _clashes(str(path), bundle, earlier))
            forecast = findings.attempt("build file", checker.check)
    return Check(
        str(path),
        config.name if config else "",
        config.backend.dtype if config else "",
        bundle,
        tuple(findings.findings),
        forecast,
        strict,
        time.perf_counter() - started,
    )


@dataclass(slots=True)
class _Checker:
    config: BuildConfig
    findings: Collector
    work: Path
    images: int
    strict: bool
    allow_custom_code: bool
    lint: bool
    cache: StageCache = field(default_factory=lambda: StageCache(default_folder()))

    def check(self) -> Forecast | None:
        """Look at part by part; the order is that of the build, as far as it can be."""
        self._engine()
        prepared = self.findings.attempt("network", self._prepare)
        samples, chain = self._data(prepared)
        some = None
        if samples is not None:
            some = load_some(samples, self.config.verify.samples, self.images, self.findings)
        self.findings.warn("data", image_warnings(chain), key="dataset.process_ops")
        self._verification(prepared, samples, chain)
        if prepared is None:
            self.findings.note("graph", ["not looked at, for want of a network"])
            return None
        draft = self.findings.attempt("graph", self._draft, prepared, some)
        if draft is None:
            return None
        self.findings.attempt("graph", self._run, draft, prepared, some)
        if self.lint and some is not None and chain is not None:
            self.findings.attempt("preprocessing", self._lint, prepared)
        return draft.forecast

    def _engine(self) -> None:
        backend = self.config.backend
        engine = backend.build_engine
        self.findings.attempt("engine", engine_version, engine)
        self.findings.attempt("engine", check_dtype, backend.dtype, engine)
        self.findings.note("engine", engine_notes(self.config))
        if self.findings.attempt("engine", cost_model, backend) is None:
            plain = backend.optimize.model_copy(update={"machine": "builtin"})
            backend = backend.model_copy(update={"optimize": plain})
            self.config = self.config.model_copy(update={"backend": backend})
            self.findings.note("engine", ["the graph is foreseen with the built-in constants"])
        if backend.dtype == "int8":
            warning = build_warning(reduce_range=backend.quantize.reduce_range)
            self.findings.warn("engine", [warning] if warning else [], key="backend.quantize")

    def _prepare(self) -> Prepared:
        prepared = prepare(self.config, self.cache, self.work, Clock(None))
        findings = self.findings
        findings.note("network", prepared.notes)
        if self.strict:
            findings.attempt("network", refuse_declined, self.config, prepared.passes)
        for one in (*prepared.passes, *prepared.rewrites):
            refused = self.strict and one.name == "append_extra_ops"
            if not refused:
                findings.warn("network", one.warnings, key=_key_of(one.name))
        self._weights(prepared.interface)
        findings.attempt(
            "network",
            check_smallest,
            prepared.original,
            inputs_of(prepared.interface),
            what="the network",
            fix="raise the smallest size to one that the network accepts",
        )
        return prepared

    def _weights(self, graph: gs.Graph) -> None:
        for tensor in graph.tensors().values():
            if not isinstance(tensor, gs.Constant) or tensor.dtype != np.float32:
                continue
            if broken := int(np.count_nonzero(~np.isfinite(tensor.values))):
                what = (
                    f"'{tensor.name}': {broken} of {tensor.values.size} values are NaN or infinite"
                )
                fix = "export the network again, from weights that are finite"
                self.findings.warn("network", [what], fix=fix)

    def _data(self, prepared: Prepared | None) -> tuple[Samples | None, Chain | None]:
        inputs = declared_inputs(self.config) if prepared is None else inputs_of(prepared.interface)

        def find(config: BuildConfig) -> tuple[Samples | None, Chain | None]:
            return find_build_samples(
                config,
                inputs,
                held_out=config.verify.samples,
                needed=config.backend.dtype == "int8",
                allow_custom_code=self.allow_custom_code,
            )

        found = self.findings.attempt("data", find, self.config)
        if found is not None:
            self.findings.note("data", data_notes(self.config, found[0]))
            return found
        dataset = self.config.dataset
        if dataset is None or dataset.path is None:
            return None, None
        # Verification can be looked at with the preprocessing alone, if that is in order.
        without = dataset.model_copy(update={"path": None})
        pathless = self.config.model_copy(update={"dataset": without})
        return self.findings.attempt("data", find, pathless) or (None, None)

    def _verification(
        self, prepared: Prepared | None, samples: Samples | None, chain: Chain | None
    ) -> None:
        config, findings = self.config, self.findings
        findings.note("verification", findings.attempt("verification", check_pairs, config) or ())
        if prepared is None or (chain is None and config.dataset and config.dataset.process_ops):
            return
        interface = prepared.interface
        inputs, output = inputs_of(interface), specs_of(interface.outputs)[0]
        rule = None
        if find_detections(config, interface, prepared.passes) is None:
            rule = postprocessing_of(interface)
        task = findings.attempt("verification", find_task, config, chain, inputs, output, rule)
        if task is not None:
            check_masks(task, output, self.images, findings)
        accuracy = config.backend.quantize.accuracy if config.backend.dtype == "int8" else None
        if accuracy is not None:
            findings.attempt(
                "verification",
                find_measure,
                config,
                accuracy,
                samples,
                chain,
                inputs,
                output,
                rule,
            )

    def _draft(self, prepared: Prepared, some: Samples | None) -> Draft:
        config, findings = self.config, self.findings
        interface = prepared.interface
        detections = find_detections(config, interface, prepared.passes)
        ended = interface if detections is None else detections.append(interface)
        unused = findings.attempt("bundle", check_delivery, config, ended)
        findings.warn("bundle", unused or (), key="backend.compile")
        if some is not None:
            most = max(1, int(1000 * TRIAL_SECONDS / max(prepared.float_milliseconds, 0.001)))
            some = some.spread(most)
        return draft_network(config, prepared, some, detections, self.cache, self.work, findings)

    def _run(self, draft: Draft, prepared: Prepared, some: Samples | None) -> None:
        """Run the network once as the engine of the build does."""
        backend = self.config.backend
        inputs = inputs_of(prepared.interface)
        feeds: Feeds = next(random_feeds(inputs, 1))
        if some is not None:
            feeds = some.load(some.calibration[0].path)
        with open_model(
            draft.model, bfloat16=backend.dtype == "bf16", engine=backend.build_engine
        ) as run:
            outputs = run(feeds)
        broken = [
            f"output '{name}' has values that are NaN or infinite"
            for name, values in outputs.items()
            if values.dtype.kind == "f" and not np.isfinite(values).all()
        ]
        self.findings.warn("graph", broken)

    def _lint(self, prepared: Prepared) -> None:
        """Try other preprocessing: on few images first; masks confirm what these suggest."""
        # Imported here, because the other parts need none of what it stands on.
        from compiler.pipeline.lint_preprocessing import lint_preprocessing

        seconds = LINT_RUNS * prepared.float_milliseconds / 1000
        if seconds > LINT_SECONDS:
            self.findings.note(
                "preprocessing",
                [f"no other was tried, for it would take about {seconds:.0f} s; see modc calib"],
            )
            return
        lint = partial(
            lint_preprocessing, images=LINT_IMAGES, allow_custom_code=self.allow_custom_code
        )
        found = lint(self.config.model_copy(update={"verify": Verify()})).findings
        if found and self.config.verify.masks is not None:
            found = lint(self.config).findings
        for one in found:
            self.findings.warn("preprocessing", [one.what], fix=one.advice)


def _clashes(file: str, bundle: str, earlier: Sequence[Check]) -> list[str]:
    """A warning if another build file writes the same bundle."""
    others = [one.file for one in earlier if bundle and one.bundle == bundle and one.file != file]
    return [f"its bundle takes the place of that of {other}" for other in others[:1]]


def _bundle(config: BuildConfig) -> str:
    """The folder of the bundle, if it can be made and written.

    Raises:
        ModcError: It is no folder, or its permissions forbid it.
    """
    target = resolve_output(config.workspace.path) / config.name
    standing = next(path for path in (target, *target.parents) if os.path.lexists(path))
    if not standing.is_dir():
        what = "a file stands where the bundle goes"
    elif not os.access(standing, os.W_OK | os.X_OK):
        what = "the bundle cannot be written: permission denied"
    else:
        return str(target)
    raise BundleError(
        what, where=str(standing), fix="set workspace.path to a folder that can be written"
    )


def _key_of(pass_name: str) -> str:
    return "graph.extra_ops" if pass_name == "append_extra_ops" else "frontend.checkpoint"

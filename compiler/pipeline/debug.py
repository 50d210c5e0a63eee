"""Why an int8 bundle loses accuracy, what each way out would give and cost, and what to paste."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from math import log10
from pathlib import Path
from typing import Final

from compiler.config.model import BuildConfig
from compiler.errors import BundleError
from compiler.pipeline.clock import Clock, Report
from compiler.pipeline.diagnosis import Diagnosis
from compiler.pipeline.find_traps import find_traps
from compiler.pipeline.patch import find_patch
from compiler.pipeline.present import Present, open_present
from compiler.pipeline.rebuild import build_file_of, sensitivity_of
from compiler.pipeline.try_ways import try_ways, verify_patch
from compiler.runner.read import Bundle, file_fact, use_bundle
from compiler.verify.metrics import SQNR_CEILING_DB
from compiler.verify.sensitivity import rank

IMAGES: Final = 20
LIMIT: Final = 5


def debug_bundle(
    prefix: str | Path,
    *,
    config: Path | None = None,
    limit: int = LIMIT,
    images: int = IMAGES,
    allow_custom_code: bool = False,
    progress: Report | None = None,
) -> Diagnosis:
    """Find out why an int8 bundle loses accuracy, and what helps.

    Args:
        prefix: `…/<name>/mod` or its folder.
        config: Its build file; else the one that it holds, with its unchanged network.
        limit: Most layers to look into; 0 for all.
        images: Most images to measure accuracy on.
        allow_custom_code: Whether the build file's preprocessing may run Python code.
        progress: Called as progress(stage, done, total).

    Raises:
        BundleError: No int8 bundle with report data there, or none of its layers runs on integers.
        BuildFileError: The build file or its network is not to be found.
        CalibrationError: Its data cannot be used.
    """
    clock = Clock(progress)
    bundle, layers = use_bundle(prefix, lambda one: (one, sensitivity_of(one)))
    if not layers:
        raise BundleError(
            "none of its layers runs on integers, so that int8 costs it nothing",
            where=str(bundle.prefix),
            fix="modc compile --explain tells why each layer stays float",
        )
    build = build_file_of(bundle, config)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        with clock.stage("build"):
            present = opened.enter_context(
                open_present(build, Path(folder), images, allow=allow_custom_code)
            )
        found, network = try_ways(present, rank(layers)[: limit or None], clock)
        with clock.stage("traps"):
            traps = find_traps(present, images)
        with clock.stage("verify"):
            patch, verdict = find_patch(
                build.backend.quantize,
                found,
                network,
                present.score.lost,
                partial(verify_patch, present),
            )
        return Diagnosis(
            name=bundle.manifest.name,
            metric=present.score.metric,
            float_points=present.score.float_points,
            points=present.score.points,
            sqnr_db=_decibels(present.noise),
            layers=found,
            network=network,
            traps=traps,
            patch=patch,
            verdict=verdict,
            notes=tuple(_notes(bundle, build, present)),
        )


def _decibels(noise: float) -> float:
    return -10 * log10(noise) if noise > 0 else SQNR_CEILING_DB


def _notes(bundle: Bundle, build: BuildConfig, present: Present) -> Iterator[str]:
    task = build.verify.metric if build.backend.quantize.accuracy is None else None
    if task is not None and present.score.metric == "sqnr":
        yield f"int8 loses nothing by {task} on these images: ways out are priced by noise instead"
    if any(source.role == "table" for source in bundle.manifest.sources):
        yield "the bundle was built with a calibration table; here the network was observed"
    elif build.backend.quantize.accuracy is not None:
        yield (
            "quantize.accuracy is left aside: figures are those of the network without the layers "
            "that its search keeps in float"
        )
    elif file_fact(present.model) != bundle.manifest.files[bundle.model.name]:
        yield (
            "the build file makes another network now than the bundle holds: figures are those of "
            "a new build, but for the ranking of layers"
        )

"""The form of a network that an int8 build starts from: that of int8, or of fp32 if that is faster.

Rewrites suit a precision. A network of depthwise and memory-bound layers may have so few nodes that
are worth integers that the fp32 form, with all its rewrites, is faster than the int8 form with its
few integer nodes; then the bundle holds that one, and nothing is lost either.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from compiler.config.model import BuildConfig
from compiler.pipeline.cache import StageCache
from compiler.pipeline.clock import Clock
from compiler.pipeline.prepare import Prepared, prepare
from compiler.pipeline.quantizer import Quantizer

CLEARLY: Final = 0.5
"""Integers that bring a network below this share of its float time need no comparison of forms."""


def choose_form(
    config: BuildConfig,
    prepared: Prepared,
    cache: StageCache,
    work: Path,
    clock: Clock,
) -> tuple[Prepared, Sequence[str]]:
    """The int8 form as prepared, or the fp32 form with all of it kept in float.

    Args:
        config: Build file of an int8 build.
        prepared: Its network.
        cache: Of the stages.
        work: Folder for files.
        clock: Times the stages.

    Returns:
        The form, and what to tell of the choice.
    """
    if not config.backend.optimize.keep_float:
        return prepared, ()
    cost = prepared.cost
    quantizer = Quantizer(prepared.graph, config.backend, prepared.kept_float, cost)
    integer = quantizer.milliseconds(quantizer.plan()[0])
    if integer < CLEARLY * prepared.float_milliseconds:
        return prepared, ()
    rival = float_form(config, cache, work / "fp32", clock)
    floating = rival.cost.milliseconds(rival.graph.nodes)
    if integer < floating:
        return prepared, ()
    reason = f"integers would not make the network faster ({integer:.2f} against {floating:.2f} ms)"
    slow = {node.name: reason for node in rival.graph.nodes}
    kept = replace(rival.kept_float, reasons={**slow, **rival.kept_float.reasons})
    return replace(rival, kept_float=kept), (
        f"the whole network stays float: {reason}, as predicted for one thread; "
        "backend.optimize.keep_float: false quantizes it all the same",
    )


def float_form(config: BuildConfig, cache: StageCache, folder: Path, clock: Clock) -> Prepared:
    """The network as an fp32 build would prepare it.

    Args:
        config: Build file of an int8 build.
        cache: Of the stages.
        folder: New folder for its files.
        clock: Times the stages.
    """
    folder.mkdir()
    backend = config.backend.model_copy(update={"dtype": "fp32"})
    return prepare(config.model_copy(update={"backend": backend}), cache, folder, clock)

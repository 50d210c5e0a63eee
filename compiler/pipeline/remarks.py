"""What a build says besides its figures: notes on what was assumed, warnings on what to look at."""

from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from compiler.config.model import BuildConfig
from compiler.pipeline.quantizer import Quantized
from compiler.pipeline.samples import Samples
from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import chain_warnings
from compiler.runner.cpu import build_warning
from compiler.verify.integer import IntegerReport
from compiler.verify.result import VerifyResult

POOR_SQNR_DB: Final = 10.0
"""Below it, noise has more than a third of the signal's amplitude, and a warning says so."""


def data_notes(config: BuildConfig, samples: Samples | None) -> list[str]:
    if config.dataset is None or config.dataset.path is None:
        return []
    if samples is not None:
        asked, found = config.dataset.sampler.get_data_num, len(samples.calibration)
        return [f"{asked} files asked for, {found} found"] if found < asked else []
    return [f"dataset.path {config.dataset.path} has no usable files; random inputs stand in"]


def accuracy_warnings(result: VerifyResult, graph: gs.Graph) -> list[str]:
    """SQNR says nothing about class numbers."""
    classes = any(np.issubdtype(one.dtype, np.integer) for one in graph.outputs)
    if result.sqnr_db >= POOR_SQNR_DB or classes:
        return []
    return [
        f"SQNR is {result.sqnr_db:.1f} dB: the compiled network differs from fp32 about as much "
        "as its own signal; check process_ops, or set gates under verify"
    ]


def integer_layers(report: IntegerReport | None) -> tuple[int, int] | None:
    if report is None:
        return None
    return len(report.nodes) - len(report.float_nodes), len(report.nodes)


def integer_warnings(report: IntegerReport | None) -> list[str]:
    if report is None:
        return []
    lines = [
        f"{node.op} '{node.node}' was to run on integers and does not: {node.reason}"
        for node in report.float_nodes
    ]
    return lines + [f"'{name}' rounds to int8 and back for nothing" for name in report.stray]


def engine_notes(config: BuildConfig) -> list[str]:
    """What another engine than ONNX Runtime means for an int8 build."""
    backend = config.backend
    if backend.dtype != "int8" or backend.build_engine == "onnxruntime":
        return []
    return [
        "integer layers are counted as ONNX Runtime runs them, and rewrites go by its times; "
        f"{backend.build_engine} chooses its kernels itself"
    ]


def image_warnings(chain: Chain | None) -> list[str]:
    """What happened to images that did not fit; the rest was said when the build file was read."""
    if chain is None:
        return []
    known = chain_warnings(chain.ops, chain.shape)
    return [warning for warning in chain.warnings() if warning not in known]


def skip_warnings(samples: Samples | None) -> list[str]:
    if samples is None or not samples.skipped:
        return []
    names = ", ".join(samples.skipped[:5])
    return [f"{len(samples.skipped)} file(s) skipped because they cannot be used: {names}"]


def cpu_warnings(config: BuildConfig, quantized: Quantized | None) -> list[str]:
    """What int8 kernels of this CPU would do to the weights; not part of the bundle."""
    if quantized is None:
        return []
    warning = build_warning(reduce_range=config.backend.quantize.reduce_range)
    return [] if warning is None else [warning]

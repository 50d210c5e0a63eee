"""Contradictions inside one file that need no image and no network to be seen."""

import re

from compiler.config.backend import OUTPUT_LAYOUT
from compiler.config.extra_ops import EXTRA_OPS
from compiler.config.model import BuildConfig, Dataset, is_range
from compiler.config.problems import Findings, KeyPath
from compiler.config.spelling import did_you_mean
from compiler.config.tree import Node
from compiler.preprocess.checks import Shape, chain_warnings, complete_ops

PRECISION_IN_NAME = re.compile(r"(?<![A-Za-z0-9])(fp32|fp16|int8)(?![A-Za-z0-9])")


def advise(config: BuildConfig, tree: Node, findings: Findings) -> None:
    """Add a note or warning for everything in a valid file that is probably not meant."""
    backend = config.backend
    if backend.type in ("tvm_vacc", "tvm_runmodel"):
        text = f"{backend.type} is not built here; the bundle targets this host (ONNX Runtime)"
        _note(("backend", "type"), text, tree, findings)
    named = PRECISION_IN_NAME.findall(config.name)
    if named and backend.dtype not in named:
        text = f"says {named[-1]}, backend.dtype says {backend.dtype}; dtype decides"
        _warn(("name",), text, tree, findings)
    if backend.dtype == "int8":
        _advise_quantize(config, tree, findings)
    elif tree.get("backend", "quantize"):
        _note(("backend", "quantize"), f"not used in a build for {backend.dtype}", tree, findings)
    _advise_output_layout(config, tree, findings)
    _advise_extra_ops(config, tree, findings)
    if config.dataset and config.dataset.process_ops:
        _advise_process_ops(config.dataset, _image_shape(config), tree, findings)


def _advise_quantize(config: BuildConfig, tree: Node, findings: Findings) -> None:
    quantize = config.backend.quantize
    if "calibrate_mode" not in quantize.model_fields_set:
        text = f"absent; {quantize.calibrate_mode} is used"
        _warn(("backend", "quantize", "calibrate_mode"), text, tree, findings)
    if any(isinstance(layer, int) for layer in quantize.exclude_layers):
        text = "numbers count all quantizable layers of this tool (--list-layers); prefer names"
        _warn(("backend", "quantize", "exclude_layers"), text, tree, findings)


def _advise_output_layout(config: BuildConfig, tree: Node, findings: Findings) -> None:
    given = set[int]()
    for position, text in enumerate(config.backend.compile.output_layout or ()):
        path = ("backend", "compile", "output_layout", position)
        found = OUTPUT_LAYOUT.fullmatch(text)
        if found is None:
            _warn(path, f"'{text}' is not like '0:YX' or '0:XY'; ignored", tree, findings)
        elif int(found[1]) in given:
            _warn(path, f"output {found[1]} is given twice; the last one counts", tree, findings)
        else:
            given.add(int(found[1]))


def _advise_extra_ops(config: BuildConfig, tree: Node, findings: Findings) -> None:
    kind = config.graph.extra_ops.type
    path = ("graph", "extra_ops", "type")
    if kind == "insert_odma":
        _note(path, "moves data on the original accelerator only; ignored", tree, findings)
    elif kind and kind not in EXTRA_OPS:
        text = f"unknown type '{kind}'; the outputs stay as they are"
        _warn(path, f"{text}{did_you_mean(kind, EXTRA_OPS)}", tree, findings)


def _advise_process_ops(
    dataset: Dataset, shape: Shape | None, tree: Node, findings: Findings
) -> None:
    path = ("dataset", "process_ops")
    ops, notes = complete_ops(dataset.process_ops)
    for text in notes:
        _note(path, text, tree, findings)
    for text in chain_warnings(ops, shape):
        _warn(path, text, tree, findings)


def _image_shape(config: BuildConfig) -> Shape | None:
    """(channels, height, width) of a network with one fixed image input."""
    shapes = list(config.frontend.shape.values())
    if len(shapes) != 1 or is_range(shapes[0]) or len(shapes[0]) != 4:
        return None
    _, channels, height, width = shapes[0]
    return channels, height, width


def _note(path: KeyPath, text: str, tree: Node, findings: Findings) -> None:
    findings.note(tree.deepest(path).key_place, path, text)


def _warn(path: KeyPath, text: str, tree: Node, findings: Findings) -> None:
    findings.warn(tree.deepest(path).key_place, path, text)

"""The four dialects of public build files, and their translation into the current one.

    D1   model, engine.common.do_quantization, engine.calibration.quant_mode     2022-12 to 2023-06
    D2   model, engine.dtype, engine.calibration.calibrate_mode                  2023-09 to 2025-06
    D3w  frontend, backend, dataset, workspace.work_dir                          since 2025-07
    D3   frontend, backend, dataset, workspace.path                              since 2025-04

Translation moves nodes, so that every later message still names the line that was written.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from compiler.config.dump import write_yaml
from compiler.config.normalise import normalise
from compiler.config.parse import parse_document, read_source
from compiler.config.problems import Findings, KeyPath, key_text
from compiler.config.spelling import did_you_mean
from compiler.config.tree import Node
from compiler.config.validate import validate

Dialect: TypeAlias = Literal["D1", "D2", "D3w", "D3"]

_ENGINE_MOVES: tuple[tuple[KeyPath, KeyPath], ...] = (  # single keys before the mapping they are in
    (("model", "name"), ("name",)),
    (("model", "checkpoint"), ("frontend", "checkpoint")),
    (("model", "inputs"), ("frontend", "shape")),
    (("engine", "type"), ("backend", "type")),
    (("engine", "dtype"), ("backend", "dtype")),
    (("engine", "common", "do_quantization"), ("backend", "dtype")),
    (("engine", "common"), ("backend", "compile")),
    (("engine", "calibration", "quant_mode"), ("backend", "quantize", "calibrate_mode")),
    (("engine", "calibration", "per_channel"), ("backend", "quantize", "quantize_per_channel")),
    (("engine", "calibration"), ("backend", "quantize")),
    (("engine", "add_extra_ops_to_graph"), ("graph", "extra_ops")),
    (("engine", "extra_ops"), ("graph", "extra_ops")),
)
_MOVES: tuple[tuple[KeyPath, KeyPath], ...] = (
    (("dataset", "transform_ops"), ("dataset", "process_ops")),
    (("workspace", "work_dir"), ("workspace", "path")),
)


def migrate(path: Path | str) -> str:
    """A build file of any dialect in the current spelling; comments are not kept.

    Only what the file says is written, without defaults; it loads with an equal configuration.

    Raises:
        BuildFileError: The file is refused, with every problem.
    """
    source = read_source(Path(path))
    findings = Findings(source.name)
    tree = parse_document(source, findings)
    translate(tree, findings)
    normalise(tree, findings, stem=Path(path).stem)
    validate(tree, findings)
    return write_yaml(tree.plain())


def translate(root: Node, findings: Findings) -> Dialect:
    """Bring a document of any dialect to the current keys, in place, with a note for each move."""
    dialect = _dialect(root)
    if dialect in ("D1", "D2"):
        _translate_engine(root, findings, dialect)
    model = root.get("model")
    if model is not None and isinstance(model.value, str):
        _move(root, ("model",), ("name",), findings)
    for old, new in _MOVES:
        _move(root, old, new, findings)
    return dialect


def _dialect(root: Node) -> Dialect:
    old_style = isinstance(root.get("model"), Node) and bool(root.mapping["model"].mapping)
    if "frontend" in root.mapping or not (old_style or "engine" in root.mapping):
        return "D3w" if root.get("workspace", "work_dir") else "D3"
    first_version = (
        ("engine", "common", "do_quantization"),
        ("engine", "calibration", "quant_mode"),
        ("engine", "calibration", "per_channel"),
    )
    return "D1" if any(root.get(*path) for path in first_version) else "D2"


def _translate_engine(root: Node, findings: Findings, dialect: Dialect) -> None:
    findings.note(
        root.place,
        ("engine",),
        f"older dialect {dialect}; `modc migrate` writes the current one. The bundle is written "
        "to <workspace.path>/<name>/, without precision and shape in the folder's name",
    )
    config = root.mapping["model"].mapping.pop("config", None) if root.get("model") else None
    if config:
        findings.note(config.key_place, ("model", "config"), "not needed by a compiler; ignored")
    _rename_values(root, findings)
    for old, new in _ENGINE_MOVES:
        _move(root, old, new, findings)
    for section in ("model", "engine"):
        node = root.get(section)
        if node is not None and (isinstance(node.value, dict) or node.value is None):
            del root.mapping[section]
            for key, child in node.mapping.items():
                text = f"unknown key{did_you_mean(key, _old_keys(section))}"
                findings.problem(child.key_place, (section, key), text)


def _old_keys(section: str) -> Iterator[str]:
    return (str(old[1]) for old, _ in _ENGINE_MOVES if old[0] == section)


def _rename_values(root: Node, findings: Findings) -> None:
    engine_type = root.get("engine", "type")
    if engine_type is not None:
        names = {"vacc": "tvm_vacc", "debug": "tvm_runmodel"}
        engine_type.value = names.get(str(engine_type.value), engine_type.value)
    quantized = root.get("engine", "common", "do_quantization")
    if quantized is None:
        return
    if quantized.value == "debug":
        text = "'debug' belongs in engine.type; read as true, an int8 build"
        findings.warn(quantized.place, ("engine", "common", "do_quantization"), text)
    if isinstance(quantized.value, bool) or quantized.value == "debug":
        quantized.value = "int8" if quantized.value else "fp16"


def _move(root: Node, old: KeyPath, new: KeyPath, findings: Findings) -> None:
    parent = root.get(*old[:-1])
    name = str(old[-1])
    if parent is None or name not in parent.mapping:
        return
    node = parent.mapping.pop(name)
    if isinstance(node.value, dict) and not node.value:
        return
    findings.note(node.key_place, old, f"now written {key_text(new)}")
    _put(root, new, node, findings, old)


def _put(root: Node, path: KeyPath, node: Node, findings: Findings, old: KeyPath) -> None:
    target = root
    for part in path[:-1]:
        if not isinstance(target.value, dict):
            return  # validation reports the scalar that stands in place of a section
        if target.mapping.get(str(part)) is None or target.mapping[str(part)].value is None:
            target.mapping[str(part)] = Node({}, node.place, node.key_place)
        target = target.mapping[str(part)]
    name = str(path[-1])
    present = target.mapping.get(name)
    if present is None or present.value is None:
        target.mapping[name] = node
    elif present.mapping and node.mapping:
        for key, child in node.mapping.items():
            _put(root, (*path, key), child, findings, (*old, key))
    else:
        text = f"also given as {key_text(old)} on line {node.key_place.line}; keep one"
        findings.problem(present.key_place, path, text)

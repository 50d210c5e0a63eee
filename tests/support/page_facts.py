"""Contents of a page: what a bundle of a network of some size would hold, made up from a seed."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from compiler.page.contents import Comparison, Contents, Thumbnail

Facts = dict[str, Any]  # Any: a JSON object

_MEBI = 1 << 20
_BUILD = """name: {name}
frontend:
  type: onnx
  checkpoint: ./unet.onnx
backend:
  type: onnxruntime
  dtype: {dtype}
verify:
  min_cosine: 0.99
  min_sqnr_db: 45
  max_drop: 0.5
"""


def make_contents(
    *,
    name: str = "unet_int8",
    dtype: str = "int8",
    layers: int = 60,
    pictures: bool = True,
    seed: int = 0,
) -> Contents:
    """Contents of the page of a bundle.

    Args:
        name: Of the bundle.
        dtype: "int8", or a float type without ranges and histograms.
        layers: Number of layers, and of histograms where there are any.
        pictures: Whether thumbnails and comparisons come along.
        seed: Of every number.
    """
    rng = np.random.default_rng(seed)
    nodes = [_node(index) for index in range(layers)]
    return Contents(
        _manifest(name, dtype, layers),
        _report(dtype, nodes, rng),
        _run(nodes, rng),
        tuple(_thumbnail(index, rng) for index in range(20)) if pictures else (),
        tuple(_comparison(index, rng) for index in range(3)) if pictures else (),
    )


def _node(index: int) -> tuple[str, str]:
    op = ("Conv", "Relu", "MaxPool", "Concat", "Resize")[index % 5]
    return f"/decoder.{index // 5}/block.{index}/{op}", op


def _manifest(name: str, dtype: str, layers: int) -> Facts:
    quantization: Facts = {"dtype": dtype, "cpu_features": ["AVX512_ICL", "X86_V4"]}
    if dtype == "int8":
        quantization |= {
            "calibrate_mode": ["kl_divergence"],
            "integer_layers": layers - 2,
            "planned_layers": layers - 1,
            "tensors": layers,
        }
    return {
        "name": name,
        "engine": "onnxruntime",
        "build": _BUILD.format(name=name, dtype=dtype),
        "inputs": [{"name": "input", "shape": [1, 3, 128, 128], "dtype": "float32"}],
        "outputs": [{"name": "output", "shape": [1, 1, 128, 128], "dtype": "float32"}],
        "quantization": quantization,
        "sources": [
            {"role": "build", "name": "unet.yaml", "size": 1298, "sha256": "b" * 64},
            {"role": "model", "name": "unet.onnx", "size": 31 * _MEBI, "sha256": "c" * 64},
        ],
        "files": {
            "mod.onnx": {"size": 439_060, "sha256": "d" * 64},
            "mod.params": {"size": 8 * _MEBI, "sha256": "e" * 64},
        },
        "versions": {"modc": "0.1.0", "numpy": "2.4.6", "onnxruntime": "1.31.1"},
    }


def _report(dtype: str, nodes: list[tuple[str, str]], rng: np.random.Generator) -> Facts:
    before = {"BatchNormalization": 12, "Concat": 12, "Conv": 12, "MaxPool": 12, "Relu": 12}
    after = {"Concat": 12, "Conv": 13, "MaxPool": 12, "Relu": 12}
    report: Facts = {
        "graph": {"before": _graph(before), "after": _graph(after)},
        "layers": [_layer(node, op, dtype, rng) for node, op in nodes],
        "passes": [
            {"name": "fold_constants", "changed": 0, "skipped": [], "warnings": []},
            {
                "name": "fuse_batch_norm",
                "changed": 12,
                "skipped": [
                    {"where": "head", "reason": "input is not produced by Conv"},
                    {"where": "neck", "reason": "input is not produced by Conv"},
                ],
                "warnings": ["2 values were clamped"],
            },
        ],
        "verification": {
            "samples": 8,
            "origin": "held-out samples",
            "outputs": [
                {"name": "output", "cosine": 0.9999188, "sqnr_db": 37.878, "max_error": 0.61771}
            ],
            "task": {
                "metric": "foreground_iou",
                "images": 50,
                "fp32": 87.2609,
                "compiled": 87.2505,
                "max_drop": 0.5,
            },
        },
        "warnings": ["3 samples were left out"],
    }
    if dtype == "int8":
        report["histograms"] = [_histogram(f"{node}_output", rng) for node, _ in nodes]
        report["calibration_files"] = [
            {"name": f"portrait_{index:06}.jpg", "sha256": f"{index:064x}"} for index in range(50)
        ]
        report["skipped_files"] = ["broken.jpg"]
    return report


def _graph(operators: dict[str, int]) -> Facts:
    nodes = sum(operators.values())
    return {
        "operators": operators,
        "nodes": nodes,
        "macs": 1_234_567_890,
        "parameter_bytes": 8 * _MEBI,
    }


def _layer(node: str, op: str, dtype: str, rng: np.random.Generator) -> Facts:
    stays = dtype == "int8" and op == "Resize" and "1" in node
    multiplies = op == "Conv"
    name = {"int8": "int8", "fp16": "float16", "fp32": "float32"}[dtype]
    return {
        "node": node,
        "op": op,
        "dtype": "float32" if stays else name,
        "reason": "cubic interpolation has no integer form" if stays else "",
        "shape": [1, 64, 32, 32],
        "macs": int(rng.integers(1, 100)) * 1_000_000 if multiplies else 0,
        "parameter_bytes": int(rng.integers(1, 100)) * 1024 if multiplies else 0,
        "tensor": f"{node}_output",
        "sqnr_db": None if stays or dtype == "fp32" else round(float(rng.uniform(6, 48)), 3),
        "cosine": None if stays or dtype == "fp32" else round(float(rng.uniform(0.98, 1)), 8),
    }


def _histogram(name: str, rng: np.random.Generator) -> Facts:
    bins, largest = 128, float(rng.uniform(1, 20))
    falling = np.exp(-np.arange(bins) / rng.uniform(6, 20)) * 1e6
    counts = rng.poisson(falling)
    thresholds = {
        "max": largest,
        "percentile": largest * 0.9,
        "kl_divergence": largest * 0.7,
        "mse": largest * 0.6,
    }
    method = str(rng.choice(list(thresholds)))
    return {
        "name": name,
        "method": method,
        "minimum": 0.0,
        "maximum": largest,
        "threshold": thresholds[method],
        "thresholds": thresholds,
        "bin_width": largest / bins,
        "counts": counts.tolist(),
        "zeros": int(counts[0]),
        "total": int(counts.sum()),
    }


def _run(nodes: list[tuple[str, str]], rng: np.random.Generator) -> Facts:
    return {
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": {"load": 0.043, "calibrate": 0.77, "verify": 1.273},
        "latency_ms": {"fp32": 34.1, "compiled": 8.95, "threads": 2},
        "peak_memory_mib": 213.9,
        "host": "bench",
        "platform": "Linux-6.1-x86_64",
        "python": "3.11.7",
        "cpus": 2,
        "nodes": [
            {"node": node, "op": op, "ms": round(float(rng.uniform(0.01, 2)), 4)}
            for node, op in nodes
            if op != "Relu"
        ],
    }


def _thumbnail(index: int, rng: np.random.Generator) -> Thumbnail:
    return Thumbnail(f"portrait_{index:06}.jpg", _picture(96, 64, "JPEG", rng), 96, 64)


def _comparison(index: int, rng: np.random.Generator) -> Comparison:
    image, fp32, compiled, difference = (_picture(128, 128, "PNG", rng) for _ in range(4))
    note = f"{index + 1}.25 % of the pixels differ"
    return Comparison(f"portrait_{index:06}.jpg", image, fp32, compiled, difference, note)


def _picture(width: int, height: int, kind: str, rng: np.random.Generator) -> bytes:
    coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(stream, kind)
    return stream.getvalue()

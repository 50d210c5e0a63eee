"""The pages of bundles: one bundle in full, or several side by side."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from compiler.page.contents import Contents
from compiler.page.differences import build_differences, layer_rows, letters
from compiler.page.facts import (
    LOW_SQNR_DB,
    POOR_SQNR_DB,
    Facts,
    distinct,
    dtype_of,
    gates_of,
    headlines,
    latencies,
    layers_of,
    network_of,
    nodes_of,
    operators_of,
    rewrites_of,
    sizes,
    verification_of,
)
from compiler.page.histograms import HEIGHT, METHODS, WIDTH, draw
from compiler.page.html import render

BUNDLE_SECTIONS: Final = MappingProxyType(
    {
        "summary": "Summary",
        "accuracy": "Accuracy against fp32",
        "graph": "Graph before and after",
        "layers": "Layers",
        "tensors": "Tensors and thresholds",
        "calibration": "Calibration set",
        "pictures": "Pictures",
        "build": "Build file",
        "provenance": "Provenance",
    }
)
BUNDLES_SECTIONS: Final = MappingProxyType(
    {
        "summary": "Summary",
        "accuracy": "Accuracy against fp32",
        "layers": "Layers side by side",
        "build": "Differences of the build files",
    }
)


def render_bundle(contents: Contents) -> str:
    """The page of one bundle; the same contents give the same bytes.

    Args:
        contents: Facts and pictures; a section whose facts are absent says so.

    Returns:
        A page that needs no other file and no network.
    """
    report: Facts = contents.report
    graph, histograms = report.get("graph"), report.get("histograms") or ()
    layers = layers_of(contents)
    return render(
        "bundle.html",
        title=str(contents.manifest.get("name", "bundle")),
        sections=BUNDLE_SECTIONS,
        contents=contents,
        manifest=contents.manifest,
        report=report,
        run=contents.run,
        dtype=dtype_of(contents),
        headlines=headlines(contents),
        verification=verification_of(contents),
        gates=gates_of(contents),
        network=network_of(graph) if graph else (),
        operators=operators_of(graph) if graph else (),
        rewrites=rewrites_of(report),
        layers=layers,
        longest=max((layer.ms or 0.0 for layer in layers), default=0.0) or 1.0,
        dtypes=distinct(layer.facts["dtype"] for layer in layers),
        kinds=distinct(layer.facts["op"] for layer in layers),
        measured=nodes_of(contents),
        drawings=draw(histograms),
        methods=METHODS,
        threshold_columns=[(method, "number") for method in METHODS],
        chosen=distinct(facts["method"] for facts in histograms),
        width=WIDTH,
        height=HEIGHT,
        low=LOW_SQNR_DB,
        poor=POOR_SQNR_DB,
    )


def render_bundles(bundles: Sequence[Contents]) -> str:
    """The page that compares bundles: one column each, in their order.

    Args:
        bundles: Two or more.

    Returns:
        A page that needs no other file and no network.
    """
    layers = layer_rows([layers_of(one) for one in bundles])
    columns = tuple(zip(letters(len(bundles)), bundles, strict=True))
    names = [str(one.manifest.get("name", "bundle")) for one in bundles]
    return render(
        "bundles.html",
        title=" and ".join(names) if len(names) == 2 else f"{len(names)} bundles",
        sections=BUNDLES_SECTIONS,
        columns=columns,
        dtypes=[dtype_of(one) for one in bundles],
        sizes=[sizes(one) for one in bundles],
        latencies=[latencies(one) for one in bundles],
        verifications=[verification_of(one) for one in bundles],
        layers=layers,
        kinds=distinct(layer.op for layer in layers),
        differences=build_differences(columns),
        low=LOW_SQNR_DB,
        poor=POOR_SQNR_DB,
    )

"""Measurements as Markdown."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from tests.benchmarks.engines.columns import COLUMNS, GOALS, REFERENCE
from tests.benchmarks.engines.results import Measured, NetworkResult, Report

BEGIN = "<!-- figures: written by make bench -->"
END = "<!-- end of figures -->"

_INT8 = ("ort_int8", "nncf_int8", "modc_int8", "modc_int8_openvino")
_BEST = ("modc_int8", "modc_int8_openvino")
_ABSENT = "–"


def put_between_markers(page: str, text: str) -> str:
    """A page with new text between its two markers.

    Raises:
        ValueError: The page lacks a marker.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def markdown(report: Report) -> str:
    """All tables, each under its heading."""
    parts = [_origin(report), "### Ratios", ratio_table(report)]
    for threads in report.threads:
        parts += [f"### {figure_of(threads)}, ms", time_table(report, threads)]
    parts += ["### Accuracy", accuracy_table(report), "### Time to load, s", load_table(report)]
    parts += ["### Time to compile or quantize, s", seconds_table(report)]
    return "\n\n".join(parts)


def figure_of(threads: int) -> str:
    """What is measured at a number of threads."""
    return "CPU time, one thread" if threads == 1 else f"Wall time, {threads} threads"


def ratio_table(report: Report) -> str:
    """The three ratios of medians per network and figure, beside what they are to reach."""
    rows = []
    for name, network in report.networks.items():
        goal, columns = GOALS[name], network.columns
        for threads in report.threads:
            best = min(_BEST, key=lambda key: columns[key].median(threads))
            cells = [
                _ratio(columns["ort_fp32"], columns["modc_fp32"], threads, goal.fp32),
                _ratio(columns["ort_int8"], columns["modc_int8"], threads, goal.int8),
                _ratio(columns["nncf_int8"], columns[best], threads, goal.best),
            ]
            engine = {"onnxruntime": "ORT", "openvino": "OpenVINO"}[COLUMNS[best].engine]
            rows.append([goal.title, figure_of(threads), *cells, engine])
    heads = [
        "network",
        "figure",
        "modc fp32 vs ORT fp32",
        "modc int8 vs ORT int8, both on ORT",
        "modc int8, best engine, vs NNCF int8",
        "best engine",
    ]
    return table(heads, rows)


def _ratio(peer: Measured, ours: Measured, threads: int, least: float) -> str:
    ratio = peer.median(threads) / ours.median(threads)
    text = f"{ratio:.3f}× (≥ {least:.2f})"
    return text if ratio >= least else f"**{text} missed**"


def time_table(report: Report, threads: int) -> str:
    """Median and, in brackets, minimum of every contestant."""

    def cell(measured: Measured) -> str:
        return f"{measured.median(threads):.1f} ({measured.minimum(threads):.1f})"

    return _per_column(report, cell)


def load_table(report: Report) -> str:
    """The shorter of the times that each contestant took to load."""
    return _per_column(report, lambda measured: f"{min(measured.load_seconds.values()):.2f}")


def _per_column(report: Report, cell: Callable[[Measured], str]) -> str:
    keys = _present(report, COLUMNS)
    rows = [
        [GOALS[name].title, *(cell(network.columns[key]) for key in keys)]
        for name, network in report.networks.items()
    ]
    return table(["network", *(COLUMNS[key].title for key in keys)], rows)


def accuracy_table(report: Report) -> str:
    """Distance from ORT fp32: max|error| / range of float contestants, SQNR of int8 ones."""
    keys = [key for key in _present(report, COLUMNS) if key != REFERENCE]
    rows = [
        [
            GOALS[name].title,
            f"{network.rounding:.1e}",
            *(_accuracy(key, network) for key in keys),
        ]
        for name, network in report.networks.items()
    ]
    return table(["network", "rounding alone", *(COLUMNS[key].title for key in keys)], rows)


def _accuracy(key: str, network: NetworkResult) -> str:
    measured = network.columns[key]
    return f"{measured.sqnr_db:.1f} dB" if key in _INT8 else f"{measured.error:.1e}"


def seconds_table(report: Report) -> str:
    """How long each graph took to make; the last row, if any, is the median of several turns."""
    graphs = {
        "quantize_static": "quantize_static (MinMax)",
        "nncf": "NNCF",
        "int8": "modc int8",
        "fp32": "modc fp32",
    }
    images = report.settings["images"]
    rows = [
        [GOALS[name].title, str(images), *(f"{network.seconds[graph]:.1f}" for graph in graphs)]
        for name, network in report.networks.items()
    ]
    if report.compile_time is not None:
        turns = report.compile_time.seconds
        cells = [f"{median(turns[graph]):.1f}" if graph in turns else _ABSENT for graph in graphs]
        title = GOALS[report.compile_time.network].title
        rows.append([f"{title}, in turns", str(report.compile_time.images), *cells])
    return table(["network", "images", *graphs.values()], rows)


def _origin(report: Report) -> str:
    machine = report.machine
    flags = ", ".join(machine["flags"]) or "none of the flags that matter here"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {flags}.\n"
        f"Versions: {versions}.\n"
        f"{report.settings['rounds']} rounds, {report.settings['images']} images; {machine['day']}."
    )


def _present(report: Report, keys: Iterable[str]) -> list[str]:
    measured = {key for network in report.networks.values() for key in network.columns}
    return [key for key in keys if key in measured]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))

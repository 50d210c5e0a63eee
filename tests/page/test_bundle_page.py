"""The page of one bundle."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from compiler.page.contents import Contents
from compiler.page.render import BUNDLE_SECTIONS, render_bundle
from tests.support.page_facts import make_contents

HOSTILE = "<script>alert('a')</script>\"><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Tags with their attributes, and the text of every section by its id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = str(dict(attrs)["id"])
            self.sections[self._section] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def contents() -> Contents:
    return make_contents()


@pytest.fixture(scope="module")
def page(contents: Contents) -> str:
    return render_bundle(contents)


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_every_section_is_there_and_the_navigation_leads_to_it(elements: Elements) -> None:
    assert list(elements.sections) == list(BUNDLE_SECTIONS)
    links = [link["href"] for link in elements.named("a") if link.get("class") != "skip"]
    assert links == [f"#{section}" for section in BUNDLE_SECTIONS]


def test_the_summary_tells_size_latency_accuracy_and_integer_layers(elements: Elements) -> None:
    summary = flat(elements.sections["summary"])

    assert "8.42 MiB 3.68× smaller fp32: 31.0 MiB" in summary
    assert "8.95 ms 3.81× faster fp32: 34.10 ms" in summary
    assert "87.25 −0.01 points fp32: 87.26" in summary
    assert "37.88 dB cosine 0.999919" in summary
    assert "58 59 were planned" in summary
    assert "3 samples were left out" in summary


def test_a_network_that_stays_float_as_a_whole_says_that_nothing_was_planned() -> None:
    contents = make_contents(layers=2, pictures=False)
    quantization = {"dtype": "int8", "integer_layers": 0, "planned_layers": 0}

    page = render_bundle(replace(contents, manifest={"quantization": quantization}))

    summary = flat(Elements(page).sections["summary"])
    assert "Layers on integers0 none was planned" in summary


def test_the_gates_of_the_build_file_are_held_or_missed(elements: Elements) -> None:
    accuracy = flat(elements.sections["accuracy"])

    assert "held cosine of 0.99 or more: 0.999919" in accuracy
    assert "missed SQNR of 45 dB or more: 37.88 dB" in accuracy
    assert "held foreground_iou at most 0.5 points below fp32: −0.01 points" in accuracy


def test_a_pass_tells_what_it_declined_and_a_shared_reason_once(elements: Elements) -> None:
    graph = flat(elements.sections["graph"])

    assert "fuse_batch_norm 12 2 sites: input is not produced by Conv head neck" in graph
    assert "Warning: 2 values were clamped" in graph


def test_reasons_that_differ_by_a_name_are_told_as_one(contents: Contents) -> None:
    skipped = [{"where": one, "reason": f"'{one}' has another reader"} for one in ("a", "b")]
    result = {"name": "fuse_bias", "changed": 0, "skipped": skipped, "warnings": []}

    page = render_bundle(replace(contents, report={**contents.report, "passes": [result]}))

    graph = flat(Elements(page).sections["graph"])
    assert "2 sites: … has another reader a: 'a' has another reader b: 'b' has" in graph


def test_passes_without_work_and_operators_are_listed(elements: Elements) -> None:
    graph = flat(elements.sections["graph"])

    assert "Found nothing to do: fold_constants." in graph
    assert "BatchNormalization 12 0 −12" in graph


def test_conversions_to_integers_are_counted_apart(contents: Contents) -> None:
    graph = contents.report["graph"]
    after = {"operators": {"Conv": 3, "QuantizeLinear": 4, "DequantizeLinear": 5}, "nodes": 12}
    graph = {**graph, "after": {**graph["before"], **after}}  # type: ignore[dict-item, index]

    page = render_bundle(replace(contents, report={**contents.report, "graph": graph}))

    text = flat(Elements(page).sections["graph"])
    assert "Nodes that compute 60 3 Conversions to and from integers 0 9" in text


def test_a_layer_has_its_type_with_the_reason_and_its_time() -> None:
    contents = make_contents(layers=2, pictures=False)
    layer = contents.report["layers"][0]  # type: ignore[index] # a JSON object
    layer |= {"dtype": "float32", "reason": "no integer form", "sqnr_db": 7.0, "cosine": 0.75}
    nodes = [{"node": layer["node"], "op": "Conv", "ms": 1.0}, {"node": "x", "op": "y", "ms": 3.0}]

    page = render_bundle(replace(contents, run={**contents.run, "nodes": nodes}))

    row = flat(Elements(page).sections["layers"])
    assert re.search(
        r"block\.0/Conv Conv float32 no integer form 1×64×32×32 .* poor 7\.00 0\.75000 1\.000 ",
        row,
    )


def test_a_histogram_names_its_thresholds_and_marks_the_chosen_one() -> None:
    contents = make_contents(layers=1, pictures=False)
    facts = contents.report["histograms"][0]  # type: ignore[index] # a JSON object
    facts |= {
        "method": "mse",
        "threshold": 4.0,
        "bin_width": 0.0625,
        "counts": [1000] * 64 + [1] * 64,
    }
    facts["thresholds"] = {"max": 8.0, "percentile": 6.0, "kl_divergence": 5.0, "mse": 4.0}

    elements = Elements(render_bundle(contents))

    (name,) = [one["aria-label"] for one in elements.named("svg") if "aria-label" in one]
    assert name == (
        "Magnitudes from 0 to 8; thresholds: max 8; percentile 6; kl_divergence 5; mse 4 (chosen)"
    )
    lines = [line for line in elements.named("line") if line["y2"] == "48"]
    assert [(line["class"], line["x1"]) for line in lines] == [
        ("max", "256.0"),
        ("percentile", "192.0"),
        ("kl_divergence", "160.0"),
        ("mse chosen", "128.0"),
    ]
    assert "mse 4 0 " in flat(elements.sections["tensors"])


def test_pictures_stand_in_the_page_with_descriptions(elements: Elements) -> None:
    pictures = elements.named("img")

    assert len(pictures) == 20 + 3 * 4
    assert all(str(one["src"]).startswith("data:image/") and one["alt"] for one in pictures)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("layers", "This bundle does not record its layers."),
        ("graph", "This bundle does not record what its graph was before and after."),
        ("tensors", "No tensor has a threshold: a network in fp32 needs no calibration."),
        ("calibration", "The network was not calibrated."),
        (
            "pictures",
            "This page holds no pictures: only builds make them, of networks from image to mask.",
        ),
        ("build", "The bundle does not record its build file."),
        ("provenance", "The bundle does not record what it was made from."),
        ("accuracy", "The outputs were not compared."),
    ],
)
def test_a_section_without_facts_says_so(section: str, sentence: str) -> None:
    elements = Elements(render_bundle(Contents({"name": "bare"}, {}, {})))

    assert sentence in flat(elements.sections[section])


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_float_network_has_layers_and_no_histograms(dtype: str) -> None:
    elements = Elements(render_bundle(make_contents(dtype=dtype)))

    assert f"a network in {dtype} needs no calibration" in flat(elements.sections["tensors"])
    assert "/decoder.0/block.0/Conv" in elements.sections["layers"]


def test_the_search_for_float_layers_is_told_of(contents: Contents) -> None:
    search = {
        "metric": "dice",
        "max_drop": 0.5,
        "drop": 0.625,
        "reached": False,
        "trials": [{}, {}],
        "reason": "the budget holds",
        "float_layers": ["head", "neck"],
    }

    page = render_bundle(replace(contents, report={**contents.report, "search": search}))

    accuracy = flat(Elements(page).sections["accuracy"])
    assert "2 sets tried; the budget holds. Float: head, neck." in accuracy
    assert "missed dice at most 0.5 points below fp32 (quantize.accuracy): −0.62 points" in accuracy


def test_no_name_becomes_markup(contents: Contents) -> None:
    hostile = Contents(
        _poisoned(contents.manifest),
        _poisoned(contents.report),
        _poisoned(contents.run),
        tuple(replace(one, name=HOSTILE) for one in contents.thumbnails),
        tuple(replace(one, name=HOSTILE, note=HOSTILE) for one in contents.comparisons),
    )

    elements = Elements(render_bundle(hostile))

    assert len(elements.named("script")) == 1
    assert not any(name.startswith("on") for _, tag in elements.tags for name in tag)
    assert not any(one.get("src") == "x" for one in elements.named("img"))


def _poisoned(value: Any) -> Any:  # Any: JSON
    """Every text that no page reads a meaning from, replaced."""
    meant = {"dtype", "role", "build", "sha256", "started"}
    if isinstance(value, dict):
        return {key: one if key in meant else _poisoned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_poisoned(one) for one in value]
    return HOSTILE if isinstance(value, str) else value


def test_the_page_asks_for_nothing_but_itself(page: str, elements: Elements) -> None:
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    (icon,) = elements.named("link")
    assert icon["href"] == "data:,"
    policies = [one for one in elements.named("meta") if "http-equiv" in one]
    assert str(policies[0]["content"]).startswith("default-src 'none'; img-src data:;")


def test_the_same_contents_give_the_same_bytes(page: str) -> None:
    assert render_bundle(make_contents()) == page


def test_the_page_of_a_large_network_stays_below_three_megabytes() -> None:
    assert len(render_bundle(make_contents(layers=220)).encode()) < 3_000_000

"""What notebooks show of a bundle."""

from dataclasses import replace
from pathlib import Path

from compiler.runner.html_table import html_table
from compiler.runner.load import Runner
from compiler.runner.manifest import TensorSpec
from compiler.runner.read import read_bundle
from tests.support.bundles import MANIFEST, SHAPE, make_bundle

BELL = '<img src=x onerror="ring()">'


def test_names_never_become_markup() -> None:
    text = html_table(BELL, [("<b>", "a & b"), (BELL, BELL)])
    assert "<img" not in text
    assert "<b>" not in text
    assert text.count("&lt;img src=x onerror=&quot;ring()&quot;&gt;") == 3
    assert "a &amp; b" in text


def test_the_colours_are_those_of_the_notebook() -> None:
    assert "color" not in html_table("title", [("what", "value")])


def test_a_bundle_shows_what_it_is(tmp_path: Path) -> None:
    strange = TensorSpec("<script>", SHAPE, "float32")
    manifest = replace(MANIFEST, quantization={"dtype": "int8"})
    bundle = read_bundle(make_bundle(tmp_path, manifest=manifest))
    text = bundle._repr_html_()
    for what, value in (
        ("dtype", "int8"),
        ("engine", "onnxruntime"),
        ("input", "x float32[1, 3, 4, 6]"),
        ("mod.json sha256", bundle.digest),
    ):
        assert f'{what}</th><td style="text-align:left">{value}</td>' in text
    odd = replace(bundle, manifest=replace(manifest, outputs=(strange,)))
    assert "<script>" not in odd._repr_html_()
    assert "&lt;script&gt;" in odd._repr_html_()


def test_a_runner_shows_what_runs_it(tmp_path: Path) -> None:
    with Runner(make_bundle(tmp_path), threads=1) as runner:
        text = runner._repr_html_()
    assert "<caption" in text
    assert "onnxruntime, 1 × 1 threads" in text

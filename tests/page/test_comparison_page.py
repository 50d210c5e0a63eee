"""The page that compares bundles."""

import re

from compiler.page.contents import Contents
from compiler.page.differences import letters
from compiler.page.render import BUNDLES_SECTIONS, render_bundles
from tests.support.page_facts import make_contents


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.replace("<wbr>", "")).split())


def test_sizes_latencies_and_accuracy_stand_side_by_side() -> None:
    page = render_bundles([make_contents(), make_contents(dtype="fp16", name="unet_fp16")])

    assert re.findall(r'<section id="(\w+)"', page) == list(BUNDLES_SECTIONS)
    text = text_of(page)
    assert "A unet_int8 int8 8.42 MiB 31.0 MiB 8.95 34.10 3.81× 2 58" in text
    assert "B unet_fp16 fp16 8.42 MiB 31.0 MiB 8.95 34.10 3.81× 2 –" in text
    assert "B unet_fp16 foreground_iou 50 87.26 87.25 −0.01 37.88 0.999919" in text


def test_layers_of_the_same_name_are_compared_and_others_left_out() -> None:
    first, second = make_contents(layers=3), make_contents(layers=2)
    for contents, sqnr in ((first, 30.0), (second, 27.5)):
        contents.report["layers"][0]["sqnr_db"] = sqnr  # type: ignore[index] # a JSON object

    text = text_of(render_bundles([first, second]))

    row = r"/decoder\.0/block\.0/Conv Conv int8 30\.00 [\d.]+ int8 27\.50 [\d.]+ −2\.50"
    assert re.search(row, text)
    assert "/decoder.0/block.1/Relu" in text
    assert "/decoder.0/block.2/MaxPool" not in text


def test_bundles_without_a_common_layer_say_so() -> None:
    text = text_of(render_bundles([make_contents(), Contents({"name": "bare"}, {}, {})]))

    assert "No two of the bundles have a layer of the same name." in text
    assert "not measured" in text


def test_the_build_files_are_told_apart_line_by_line() -> None:
    first, other = make_contents(), make_contents(dtype="fp16")

    page = render_bundles([first, other, first])

    assert re.findall(r"<(?:ins|del)>[+-] (.*?)</(?:ins|del)>", page) == [
        "  dtype: int8",
        "  dtype: fp16",
    ]
    assert "C against A The build files are the same." in text_of(page)


def test_names_are_escaped() -> None:
    page = render_bundles([make_contents(name="<script>"), make_contents(name="<b>")])

    assert page.count("<script>") == 1
    assert "<b>" not in page


def test_any_number_of_bundles_has_letters() -> None:
    assert letters(3) == ["A", "B", "C"]
    assert letters(54)[25:29] == ["Z", "AA", "AB", "AC"]
    assert letters(703)[-1] == "AAA"

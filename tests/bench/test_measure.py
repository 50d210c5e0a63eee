"""Whole benchmarks of tiny bundles: what must hold of their figures, whatever the machine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from compiler.bench.fresh import measure_loading
from compiler.bench.measure import Plan, Row, bench
from compiler.bench.networks import open_file
from compiler.bench.settings import Setting, settings_of
from compiler.errors import BuildFileError, BundleError, CalibrationError, GraphError
from compiler.runner.manifest import TensorSpec
from compiler.runner.random_feeds import fits, random_feeds
from compiler.runner.read import read_bundle
from tests.support.bundles import make_bundle

FEW = Plan(rounds=2, iterations=5, starts=0)
STEPS = {"python", "imports", "check", "open", "first_run", "total"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("deploy")))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "grey.png"
    Image.fromarray(np.full((8, 12, 3), 128, np.uint8)).save(path)
    return path


def _is_in_order(row: Row) -> bool:
    times = row.milliseconds
    figures = [times.minimum, times.p50, times.p90, times.p95, times.p99, times.maximum]
    speed = row.throughput
    return figures == sorted(figures) and speed.lower <= speed.median <= speed.upper


def test_every_setting_has_a_row_and_every_sample_counts(bundle: str) -> None:
    plan = replace(FEW, settings=settings_of([None, "onnxruntime"], [1], [1, 2], [1, 3]))

    found = bench(bundle, plan)

    kinds = [(row.asked, row.instances, row.batch) for row in found.rows]
    assert kinds == [(e, i, b) for e in (None, "onnxruntime") for i in (1, 2) for b in (1, 3)]
    for row in found.rows:
        assert (row.milliseconds.count, row.samples) == (5, 5 * row.batch)
        assert (row.engine, row.threads, row.course) == ("onnxruntime", 1, "network")
        assert row.throughput.rounds == 2
        assert _is_in_order(row)
    assert (found.loadings, found.holdings, found.sharings, found.ratios) == ((), (), (), ())


def test_the_clock_ends_turns_too(bundle: str) -> None:
    found = bench(bundle, Plan(rounds=2, seconds=0.02, starts=0))

    assert found.rows[0].samples == found.rows[0].milliseconds.count >= 2
    assert found.fed == "seeded random values"


def test_the_way_from_the_file_has_a_row_of_its_own(bundle: str, picture: Path) -> None:
    plan = replace(FEW, image=picture, preprocess=True, settings=settings_of([None], [1], [2], [2]))

    alone, whole = bench(bundle, plan).rows

    assert (alone.course, alone.milliseconds.count, alone.samples) == ("network", 5, 10)
    assert (whole.course, whole.milliseconds.count, whole.samples) == ("image file", 5, 5)
    assert _is_in_order(whole)


def test_a_bundle_against_itself_has_a_ratio_per_setting_and_course(
    bundle: str, picture: Path
) -> None:
    plan = replace(
        FEW,
        image=picture,
        preprocess=True,
        compare=bundle,
        settings=settings_of([None], [1], [1, 2], [1]),
    )

    found = bench(bundle, plan)

    assert len(found.rows) == 8
    assert [(one.row, one.other) for one in found.ratios] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    for one in found.ratios:
        mine, theirs = found.rows[one.row], found.rows[one.other]
        assert (mine.course, mine.instances) == (theirs.course, theirs.instances)
        for ratio in (one.latency, one.throughput):
            assert ratio.rounds == 2
            assert 0 < ratio.lower <= ratio.median <= ratio.upper


def test_an_onnx_file_takes_turns_with_a_bundle(bundle: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save_model(onnx.load(Path(bundle) / "mod.onnx"), path)

    found = bench(bundle, replace(FEW, compare=str(path), settings=[Setting("auto")]))

    assert [row.path for row in found.rows] == [bundle, str(path)]
    assert found.rows[1].engine == found.rows[0].engine
    assert len(found.ratios) == 1


OPEN = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, h, w] x) => (float[n, 3, h, w] y)"""


def test_an_onnx_file_of_open_sizes_is_fed_what_the_bundle_is(bundle: str, tmp_path: Path) -> None:
    path, seen = tmp_path / "net.onnx", TensorSpec("x", (-1, 3, -1, -1), "float32")
    onnx.save_model(onnx.parser.parse_model(OPEN + "{ y = Neg(x) }"), path)
    given = random_feeds(read_bundle(bundle).manifest.inputs)

    network = open_file(Setting(), path=path, engine="onnxruntime", given=given)

    assert network.feeds is given
    assert not fits([seen], {"x": given["x"][0]})


def test_an_onnx_file_that_does_not_run_is_one_clear_error(bundle: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    text = OPEN + "<float[5] b = {1, 2, 3, 4, 5}>{ y = Add(x, b) }"
    onnx.save_model(onnx.parser.parse_model(text), path)

    with pytest.raises(GraphError, match="onnxruntime cannot run it") as caught:
        bench(bundle, replace(FEW, compare=str(path)))

    assert caught.value.where == str(path)


def test_fresh_processes_tell_every_step_and_their_memory(bundle: str) -> None:
    found = bench(bundle, Plan(rounds=1, iterations=1, starts=2, processes=2))

    assert [one.start for one in found.loadings] == ["cold", "warm", "nothing kept"]
    for one in found.loadings:
        assert set(one.milliseconds) == STEPS
        assert all(step.rounds == 2 and step.lower > 0 for step in one.milliseconds.values())
    (holding,) = found.holdings
    if holding.before is None or holding.after is None or holding.peak is None:
        pytest.skip("this system tells no process's pages")
    assert holding.after.rss > holding.before.rss > 0
    assert holding.after.pss <= holding.after.rss <= holding.peak
    (sharing,) = found.sharings
    assert sharing.processes == 2
    assert set(sharing.alone) == set(sharing.together) == {"bundle", "libraries", "anonymous"}
    assert sharing.together["libraries"].shared > 0
    assert sharing.together["anonymous"].private > sharing.alone["anonymous"].private


def test_what_cannot_be_measured_is_one_clear_error(
    bundle: str, picture: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words.onnx"
    words.write_text("no network")
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    wrong: list[tuple[Plan, type[Exception], str]] = [
        (replace(FEW, preprocess=True), BuildFileError, "was given"),
        (replace(FEW, compare=str(tmp_path / "absent.onnx")), BuildFileError, "no such file"),
        (replace(FEW, compare=str(words)), GraphError, "no ONNX file"),
        (replace(FEW, compare=str(tmp_path / "absent")), BundleError, "not found"),
        (replace(FEW, image=broken, preprocess=True), CalibrationError, "image"),
    ]
    for plan, kind, text in wrong:
        with pytest.raises(kind, match=text):
            bench(bundle, plan)
    with pytest.raises(BundleError, match="not found"):
        bench(str(tmp_path), replace(FEW, image=picture))


@pytest.mark.parametrize("damage", ["edited", "no network"])
def test_a_bundle_that_does_not_load_in_a_fresh_process_says_why(
    tmp_path: Path, damage: str
) -> None:
    folder = make_bundle(tmp_path)
    bundle = read_bundle(folder)
    if damage == "edited":
        (folder / "mod.params").write_bytes(bytes(12))
    else:
        folder.rename(tmp_path / "elsewhere")

    with pytest.raises(BundleError) as caught:
        measure_loading(bundle, [("onnxruntime", 1)], 1)

    assert caught.value.fix != ""
    assert ("hash" if damage == "edited" else "not found") in caught.value.what


def test_random_feeds_fit_the_inputs_they_are_made_for() -> None:
    specs = (
        TensorSpec("image", (1, 3, -1, 8), "float16", ((1, 1), (3, 3), (4, 16), (8, 8))),
        TensorSpec("pixels", (2, 5), "uint8"),
        TensorSpec("tokens", (-1, 4), "int64"),
    )
    feeds = random_feeds(specs)

    assert fits(specs, feeds)
    assert feeds["image"].shape == (1, 3, 16, 8)
    assert 0 <= float(feeds["image"].min()) < float(feeds["image"].max()) <= 1
    assert int(feeds["pixels"].max()) > 1
    assert not feeds["tokens"].any()
    assert not fits(specs, {**feeds, "pixels": feeds["pixels"].astype(np.int8)})
    assert all((feeds[name] == array).all() for name, array in random_feeds(specs).items())

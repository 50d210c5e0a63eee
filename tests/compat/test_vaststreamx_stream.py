"""Graphs and streams of `vaststreamx`, in this process."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import compiler.compat.vaststreamx as vsx
from compiler import Runner
from compiler.errors import BuildFileError, BundleError, CalibrationError
from compiler.runner.manifest import Preprocessing
from tests.support import scripts
from tests.support.scripts import script_bundle, vdsp_json

Array = NDArray[Any]
CROP = "FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR"
EXT = "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR_EXT"


def image_of(value: int | list[int], width: int = 8, height: int = 8) -> vsx.Image:
    pixels = np.empty((3, height, width), np.uint8)
    pixels[...] = np.array(value).reshape(-1, 1, 1)
    return vsx.create_image(pixels, vsx.ImageFormat.RGB_PLANAR, width, height, 0)


class Script:
    """A built stream with its operators."""

    def __init__(self, prefix: Path, json_path: Path | None) -> None:
        self.network = vsx.Model(str(prefix), 1)
        self.model = vsx.ModelOperator(self.network)
        self.prepare = vsx.Operator.load_ops_from_json_file(str(json_path)) if json_path else []
        graph = vsx.Graph(do_copy=False)
        graph.add_operators(*self.prepare, self.model)
        self.stream = vsx.Stream(graph, vsx.StreamBalanceMode.ONCE)
        self.stream.register_operator_output(self.model)
        if self.prepare:
            shapes = [[((3, 8, 8), vsx.TypeFlag.FLOAT16)]]
            self.stream.register_operator_output("preprocess_res", self.prepare[0], shapes)
        self.stream.build()

    def sync(self, *images: vsx.Image, **params: Any) -> list[Array]:
        return [vsx.as_numpy(outputs[0]) for outputs in self.stream.run_sync([*images], params)]

    def read(self) -> Array:
        return vsx.as_numpy(self.stream.get_operator_output(self.model)[0][0])


@pytest.fixture
def classifier(tmp_path: Path) -> Script:
    return Script(script_bundle(tmp_path, scripts.CLASSIFICATION), vdsp_json(tmp_path))


def test_results_come_in_order_of_submission_with_many_in_flight(classifier: Script) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, 200)
    read: list[Array] = []

    def consume() -> None:
        while True:
            try:
                read.append(classifier.read())
            except ValueError:
                return

    consumer = threading.Thread(target=consume)
    consumer.start()
    for value in values:
        side = int(rng.integers(8, 200))  # some take longer than others
        classifier.stream.run_async([image_of(value, side, side)])
    classifier.stream.close_input()
    consumer.join()

    assert [array.shape for array in read] == [(1, 3)] * 200
    assert {array.dtype for array in read} == {np.dtype(np.float16)}
    np.testing.assert_array_equal(
        np.concatenate(read), np.repeat(values[:, None] / 255, 3, 1).astype(np.float16)
    )


def test_reading_after_the_end_raises_value_error_again_and_again(classifier: Script) -> None:
    for value in range(3):
        classifier.stream.run_async([image_of(value)])
    classifier.stream.close_input()
    classifier.stream.close_input()
    assert [round(classifier.read()[0, 0] * 255) for _ in range(3)] == [0, 1, 2]
    for _ in range(3):
        with pytest.raises(ValueError, match="the stream has ended"):
            classifier.stream.get_operator_output(classifier.model)


def test_waiting_until_done_needs_no_reader_even_for_more_than_the_queue_holds(
    classifier: Script,
) -> None:
    for value in range(100):
        classifier.stream.run_async([image_of(value)])
    classifier.stream.close_input()
    classifier.stream.wait_until_done()
    assert [round(classifier.read()[0, 0] * 255) for _ in range(100)] == list(range(100))


def test_a_waiting_reader_gets_nothing_of_what_runs_synchronously(classifier: Script) -> None:
    read: list[Array] = []
    reader = threading.Thread(target=lambda: read.append(classifier.read()))
    reader.start()

    assert classifier.sync(image_of(51))[0][0, 0] == np.float16(0.2)
    time.sleep(0.05)
    assert read == []

    classifier.stream.run_async([image_of(102)])
    reader.join()
    np.testing.assert_array_equal(read, [np.full((1, 3), 0.4, np.float16)])


def test_synchronous_and_asynchronous_runs_give_the_same_as_the_runner(tmp_path: Path) -> None:
    prefix, json_path = script_bundle(tmp_path, scripts.SEGMENTATION), vdsp_json(tmp_path)
    script = Script(prefix, json_path)
    rgb = np.random.default_rng(1).integers(0, 256, (31, 17, 3), np.uint8)
    image = vsx.create_image(rgb.transpose(2, 0, 1), vsx.ImageFormat.RGB_PLANAR, 17, 31, 0)

    (sync,) = script.sync(image)
    script.stream.run_async([image])
    asynchronous = script.read()

    with Runner(prefix, vdsp_params=json_path) as runner:
        expected = runner.run(rgb)["y"]
    np.testing.assert_array_equal(sync, expected.astype(np.float16))
    np.testing.assert_array_equal(asynchronous, sync)


def test_every_registered_output_has_a_queue_of_its_own(classifier: Script) -> None:
    for value in (0, 51):
        classifier.stream.run_async([image_of(value)])
    classifier.stream.close_input()
    prepared = []
    for _ in range(2):
        (sample,) = classifier.stream.get_operator_output("preprocess_res")
        (tensor,) = sample
        assert tensor.shape == [3, 8, 8]
        assert tensor.dtype is vsx.TypeFlag.FLOAT16
        prepared.append(vsx.as_numpy(tensor)[0, 0, 0])
    assert prepared == [0, np.float16(0.2)]
    assert classifier.read()[0, 0] == 0
    assert classifier.read()[0, 0] == np.float16(0.2)


def test_an_output_registered_by_name_is_found_by_name_and_by_operator(tmp_path: Path) -> None:
    model = vsx.ModelOperator(
        vsx.Model(script_bundle(tmp_path, scripts.CLASSIFICATION), batch_size=2)
    )
    graph = vsx.Graph(vsx.GraphOutputType.GRAPH_OUTPUT_TYPE_NCHW_HOST, [0, 0, 1])
    graph.add_operators(*vsx.Operator.load_ops_from_json_file(vdsp_json(tmp_path)), model)
    stream = vsx.Stream(graph, vsx.StreamBalanceMode.RUN)
    stream.register_operator_output("out", model)
    stream.build()
    stream.run_async([image_of(0), image_of(255)])
    stream.run_async([image_of(51)])
    first = stream.get_operator_output("out")
    assert [vsx.as_numpy(sample[0])[0, 0] for sample in first] == [0, 1]
    assert len(stream.get_operator_output(model)) == 1


def test_a_detector_keeps_its_three_axes_and_a_matrix_loses_one(tmp_path: Path) -> None:
    detector = Script(script_bundle(tmp_path, scripts.DETECTION), vdsp_json(tmp_path))
    outputs = detector.stream.run_sync([image_of(255)])[0]
    assert [out.shape for out in outputs] == [[1, 3, 1], [1, 3, 1], [1, 3, 4]]
    assert detector.network.output_shape == [[1, 3, 1], [1, 3, 1], [1, 3, 4]]

    tokens = script_bundle(tmp_path / "tokens", scripts.TOKENS)
    model = vsx.ModelOperator(vsx.Model(tokens))
    graph = vsx.Graph()
    graph.add_operators(vsx.Operator(vsx.OpType.BERT_EMBEDDING_OP), model)
    stream = vsx.Stream(graph)
    stream.build()
    ids = vsx.from_numpy(np.array([[1, 2, 3, 4]], np.int32), 0)
    mask = vsx.from_numpy(np.array([1, 1, 0, 0], np.int32), 0)
    (outputs,) = stream.run_sync([[ids, mask]])
    np.testing.assert_array_equal(vsx.as_numpy(outputs[0]), [[1, 1], [2, 1], [0, 0], [0, 0]])
    assert model.model.input_count == 2
    assert model.model.output_count == 1


def test_a_network_that_takes_bytes_gets_bytes(tmp_path: Path) -> None:
    prefix = script_bundle(tmp_path, scripts.BYTES)
    normalised_inside = Script(prefix, vdsp_json(tmp_path))
    np.testing.assert_array_equal(normalised_inside.sync(image_of([1, 2, 250]))[0], [[1, 2, 250]])

    alone = Script(prefix, None)
    np.testing.assert_array_equal(alone.sync(image_of([1, 2, 250]))[0], [[1, 2, 250]])


def test_images_of_every_format_look_the_same_to_the_network(classifier: Script) -> None:
    rgb = image_of([200, 100, 40])
    results = [classifier.sync(vsx.cvtcolor(rgb, format))[0] for format in vsx.ImageFormat]
    for format, result in zip(vsx.ImageFormat, results, strict=True):
        if format is not vsx.ImageFormat.GRAY:
            # NV12 holds colours to about one level
            np.testing.assert_allclose(result, [[200 / 255, 100 / 255, 40 / 255]], atol=0.012)
    gray = results[list(vsx.ImageFormat).index(vsx.ImageFormat.GRAY)]
    np.testing.assert_allclose(gray, np.full((1, 3), 123 / 255), atol=1e-3)


def test_attributes_that_a_script_sets_apply_from_the_next_call_on(tmp_path: Path) -> None:
    # as scripts do that keep the ratio: sizes come per image
    json_path = vdsp_json(tmp_path, CROP, OimageWidth=None, OimageHeight=None)
    script = Script(script_bundle(tmp_path, scripts.CLASSIFICATION), json_path)
    image = image_of(0, 16, 8).numpy()
    image[:, :, 8:] = 255
    wide = vsx.create_image(image, vsx.ImageFormat.RGB_PLANAR, 16, 8, 0)
    with pytest.raises(BuildFileError, match="ResizeWidth"):
        script.sync(wide)

    operator = script.prepare[0].cast_to_buildin_operator()
    sizes = {vsx.AttrKey.RESIZE_WIDTH: np.int64(16), vsx.AttrKey.RESIZE_HEIGHT: 8}
    assert "RESIZE_WIDTH" not in operator.attributes
    operator.set_attribute(
        {**sizes, vsx.AttrKey.CROP_X: 8, vsx.AttrKey.CROP_Y: 0, vsx.AttrKey.IIMAGE_WIDTH: 16}
    )
    assert operator.get_attribute(vsx.AttrKey.CROP_X) == 8
    assert operator.get_attribute(vsx.AttrKey.IIMAGE_WIDTH) == 16
    assert script.sync(wide)[0][0, 0] == 1
    operator.set_attribute({vsx.AttrKey.CROP_X: 0})
    assert script.sync(wide)[0][0, 0] == 0

    assert script.sync(wide, crop_resize_ext=[(8, 0, 16, 8)])[0][0, 0] == 1


def test_run_parameters_override_the_letterbox_and_are_ignored_where_they_do_not_fit(
    tmp_path: Path,
) -> None:
    prefix = script_bundle(tmp_path, scripts.CLASSIFICATION)
    json_path = vdsp_json(
        tmp_path, EXT, OimageWidth=None, OimageHeight=None, ResizeWidth=8, ResizeHeight=8,
        Padding=[0, 0, 0],
    )  # fmt: skip
    script = Script(prefix, json_path)
    half = [(8, 4, 2, 2, 0, 0)]  # 4 of 8 rows, black around them
    assert script.sync(image_of(255))[0][0, 0] == 1
    assert script.sync(image_of(255), rgb_letterbox_ext=half)[0][0, 0] == 0.5
    mixed = script.sync(image_of(255), image_of(255), rgb_letterbox_ext=[*half, (8, 8, 0, 0, 0, 0)])
    assert [array[0, 0] for array in mixed] == [0.5, 1]

    assert script.sync(image_of(255), rgb_letterbox_ext=np.array(half))[0][0, 0] == 0.5

    plain = Script(prefix, vdsp_json(tmp_path))
    assert plain.sync(image_of(255), rgb_letterbox_ext=half, unknown=1)[0][0, 0] == 1


def test_dynamic_shapes_are_chosen_by_model_or_by_call(tmp_path: Path) -> None:
    network = scripts.CLASSIFICATION.replace("[1, 3, 8, 8]", "[1, 3, H, W]")
    prefix = script_bundle(tmp_path, network, bounds=((1, 1), (3, 3), (4, 16), (4, 16)))
    script = Script(prefix, vdsp_json(tmp_path, OimageWidth=None, OimageHeight=None))
    assert script.network.input_shape == [[1, 3, 16, 16]]
    script.network.set_input_shape([[1, 3, 8, 12]])
    script.network.set_batch_size(3)
    assert script.network.input_shape == [[1, 3, 8, 12]]
    assert (script.network.batch_size, script.network.max_batch_size) == (3, 3)

    def prepared_shape(**params: Any) -> list[int]:
        script.stream.run_async([image_of(255)], params)
        return script.stream.get_operator_output("preprocess_res")[0][0].shape

    assert prepared_shape() == [3, 8, 12]
    assert prepared_shape(dynamic_model_input_shapes=[[[1, 3, 4, 16]]]) == [3, 4, 16]
    with pytest.raises(BundleError, match=r"\[1, 3, 4, 17\]"):
        prepared_shape(dynamic_model_input_shapes=[[[1, 3, 4, 17]]])
    with pytest.raises(BundleError, match="the bundle takes x"):
        script.network.set_input_shape([[1, 3, 2, 2]])
    with pytest.raises(BundleError, match=r"shapes \[1, 3, 8, 8\] given"):
        script.network.set_input_shape([1, 3, 8, 8])  # type: ignore[list-item]  # the mistake


def test_tiled_results_of_an_operator_are_what_a_model_takes(tmp_path: Path) -> None:
    script = Script(script_bundle(tmp_path, scripts.CLASSIFICATION), None)
    operator = vsx.Operator.load_ops_from_json_file(vdsp_json(tmp_path))[0]
    image = image_of([51, 102, 255])
    flag = vsx.TypeFlag.FLOAT16
    fused = operator.cast_to_buildin_operator()
    (tiles,) = fused.execute(tensors=[image], output_info=[([1, 1, 1, 1, 256], flag)])
    (planes,) = fused.execute(tensors=[image], output_info=[((3, 8, 8), flag)])
    np.testing.assert_array_equal(vsx.as_numpy(tiles)[0, 0, 0, 0, 192:], np.zeros(64))
    for tensor in (tiles, planes):
        (outputs,) = script.stream.run_sync([[tensor]])
        np.testing.assert_allclose(vsx.as_numpy(outputs[0]), [[0.2, 0.4, 1]], atol=1e-3)
    with pytest.raises(BundleError, match="give the shape of the result"):
        fused.execute(tensors=[image], output_info=[((3, 8, 7), flag)])
    with pytest.raises(BundleError, match="2 results given for 1 images"):
        fused.execute(tensors=[image], output_info=[((3, 8, 8), flag)] * 2)


@pytest.mark.parametrize(
    ("samples", "params", "message"),
    [
        (image_of(1), {}, "give a list"),
        ([], {}, "give a list"),
        ([np.zeros((3, 8, 8), np.uint8)], {}, "give an Image, or a list of Tensors"),
        ([[image_of(1)]], {}, "give an Image, or a list of Tensors"),
        ([[]], {}, "0 tensors given"),
        ([vsx.from_numpy(np.zeros((1, 3, 8, 9), np.float16))], {}, r"float16\[1, 3, 8, 9\]"),
        ([[vsx.from_numpy(np.zeros((2, 3, 8, 8), np.float16))]], {}, r"float16\[2, 3, 8, 8\]"),
        ([image_of(1)], {"rgb_letterbox_ext": []}, r"rgb_letterbox_ext \[\] given for 1 samples"),
        ([image_of(1)], {"rgb_letterbox_ext": 8}, "rgb_letterbox_ext 8 given for 1 samples"),
        (
            [image_of(1)],
            {"rgb_letterbox_ext": [(8, 4)]},
            r"\(8, 4\) given(?s:.*)resize_w",
        ),
        ([image_of(1)], {"crop_resize_ext": [8]}, r"crop_resize_ext 8 given(?s:.*)crop_x, crop_y"),
        ([image_of(1)], {"crop_resize_ext": ["abcd"]}, "crop_resize_ext 'abcd' given"),
        ([image_of(1)], {"dynamic_model_input_shapes": [[1, 3, 8, 8]]}, "the bundle takes x"),
    ],
)
@pytest.mark.parametrize("call", ["run_sync", "run_async"])
def test_a_sample_that_does_not_fit_is_refused_before_it_is_queued(
    classifier: Script, call: str, samples: Any, params: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        getattr(classifier.stream, call)(samples, params)


def test_images_are_refused_where_the_network_takes_tensors(tmp_path: Path) -> None:
    tokens = Script(script_bundle(tmp_path, scripts.TOKENS), None)
    with pytest.raises(BundleError, match="an image given"):
        tokens.sync(image_of(1))
    floats = Script(script_bundle(tmp_path / "b", scripts.CLASSIFICATION), None)
    with pytest.raises(BundleError, match="uint8"):
        floats.sync(image_of(1, 9, 8))


def test_an_image_that_does_not_fit_the_operator_is_an_error_of_run_sync(tmp_path: Path) -> None:
    json_path = vdsp_json(
        tmp_path, "FUSION_OP_RGB_CROP_RESIZE_CVTCOLOR_NORM_TENSOR", CropWidth=20, CropHeight=20
    )
    script = Script(script_bundle(tmp_path, scripts.CLASSIFICATION), json_path)
    with pytest.raises(CalibrationError, match="does not contain 20×20") as caught:
        script.sync(image_of(1))
    assert "process_ops" not in caught.value.fix  # a JSON made the chain


def test_an_operator_that_does_not_fit_the_network_is_refused(tmp_path: Path) -> None:
    json_path = vdsp_json(tmp_path, OimageWidth=9)
    script = Script(script_bundle(tmp_path, scripts.CLASSIFICATION), json_path)
    with pytest.raises(BuildFileError, match=r"8×9.*8×8"):
        script.stream.run_async([image_of(1)])


def test_a_stream_says_what_is_missing(tmp_path: Path) -> None:
    model = vsx.ModelOperator(vsx.Model(script_bundle(tmp_path, scripts.CLASSIFICATION)))
    graph = vsx.Graph()
    with pytest.raises(BundleError, match="no operator"):
        vsx.Stream(graph).build()
    with pytest.raises(BundleError, match="Model given"):
        graph.add_operators(model.model)  # type: ignore[arg-type]  # the mistake
    graph.add_operators(model)
    stream = vsx.Stream(graph)
    with pytest.raises(BundleError, match="call build first"):
        stream.run_sync([image_of(1)])
    with pytest.raises(BundleError, match="'out' given"):
        stream.register_operator_output("out")
    stream.build()
    with pytest.raises(BundleError, match="after build"):
        stream.register_operator_output(model)
    with pytest.raises(BundleError, match="not registered"):
        stream.get_operator_output(model)
    stream.close_input()
    with pytest.raises(BundleError, match="the input is closed"):
        stream.run_async([vsx.from_numpy(np.zeros((1, 3, 8, 8), np.float32))])
    with pytest.raises(BundleError, match="do_copy"):
        vsx.Graph("host")  # type: ignore[arg-type]  # the mistake


def test_a_reader_stops_when_the_main_thread_is_dead(
    classifier: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.compat.vaststreamx.stream.nobody_submits", lambda: True)
    with pytest.raises(ValueError, match="the stream has ended"):
        classifier.stream.get_operator_output(classifier.model)


def test_dropped_streams_leave_no_thread(tmp_path: Path) -> None:
    prefix, json_path = script_bundle(tmp_path, scripts.CLASSIFICATION), vdsp_json(tmp_path)
    before = set(threading.enumerate())
    for value in range(5):
        script = Script(prefix, json_path)
        script.stream.run_async([image_of(value)])
        del script
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_a_json_that_contradicts_the_bundle_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = script_bundle(
        tmp_path, scripts.CLASSIFICATION, preprocessing=Preprocessing(scripts.DIV255, (3, 8, 8))
    )
    for _ in range(2):
        Script(prefix, vdsp_json(tmp_path)).sync(image_of(1), image_of(2))
    assert caplog.messages == []
    swapped = vdsp_json(tmp_path / "net", ColorCvtCode="BGR2RGB")
    for _ in range(2):
        Script(prefix, swapped).sync(image_of(1), image_of(2))
    (message,) = caplog.messages
    assert message.startswith(f"{swapped}: ")


class Exited(BaseException):  # no code catches it by mistake
    pass


def test_a_thread_that_dies_using_a_stream_ends_the_process_and_others_do_not(
    classifier: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    seen: list[object] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_value))

    def die_after(use: bool, error: BaseException) -> None:
        if use:
            classifier.sync(image_of(1))
        raise error

    cases = [
        (False, KeyError()),
        (True, SystemExit()),
        (True, KeyError()),
        (True, BundleError("w", where="", fix="")),
    ]
    for case in cases:
        thread = threading.Thread(target=die_after, args=case)
        thread.start()
        thread.join()

    assert codes == [1, 6]
    assert seen == [error for _, error in cases]


def test_a_worker_that_fails_ends_the_process(
    classifier: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exited = threading.Event()
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        exited.set()
        raise Exited

    monkeypatch.setattr(os, "_exit", leave)
    classifier.network.runner.close()
    classifier.stream.run_async([image_of(1)])
    assert exited.wait(60)
    assert codes == [6]
    assert "the runner is closed" in capsys.readouterr().err

"""Scripts of the published pattern, run by `modc vsx` in a process of their own."""

import shutil
from pathlib import Path
from textwrap import dedent

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

from compiler import Runner, compile_model, load_config
from compiler.runner.manifest import Preprocessing
from tests.support import scripts
from tests.support.detectors import small_yolo
from tests.support.project import make_project
from tests.support.scripts import plain_images, run_vsx, script_bundle, vdsp_json

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
END = "the stream has ended"
RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)

# An object of class 1 in the middle rows, its mask where the image is bright; one row unused.
INSTANCES = """net (float[1, 3, 8, 8] x) => (float[1, 2, 1] classes, float[1, 2, 1] scores,
 float[1, 2, 4] boxes, float[1, 2, 32] coefficients, float[1, 32, 4, 4] prototypes)
<float[1, 2, 1] kinds = {1, -1}, float[1, 2, 1] sure = {0.75, -1},
 float[1, 2, 4] places = {0, 2, 8, 6, -1, -1, -1, -1}, float[1, 2, 1] weights = {2, 0},
 int64[6] rest = {0, 0, 0, 0, 0, 31}, int64[8] others = {0, 0, 0, 0, 0, 31, 0, 0},
 int64[1] channel = {1}, float half = {0.5}> {
 classes = Identity(kinds)
 scores = Identity(sure)
 boxes = Identity(places)
 coefficients = Pad(weights, rest)
 gray = ReduceMean<axes = [1], keepdims = 1>(x)
 small = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(gray)
 bright = Sub(small, half)
 prototypes = Pad(bright, others) }"""
# The first values of the image, row by row.
FIRST_VALUES = """net (float[1, 3, 32, 32] x) => (float[1, 1000] y)
<int64[1] first = {0}, int64[1] last = {1000}, int64[1] axis = {1}> {
 flat = Flatten(x)
 y = Slice(flat, first, last, axis) }"""

# What every short script below starts with; {prefix} and {json} come as arguments.
START = """
import sys, threading
import numpy as np
import vaststreamx as vsx

def stream_of(prefix, vdsp_params):
    assert vsx.set_device(0) == 0
    model = vsx.ModelOperator(vsx.Model(prefix, 1))
    graph = vsx.Graph()
    graph.add_operators(*vsx.Operator.load_ops_from_json_file(vdsp_params), model)
    stream = vsx.Stream(graph, vsx.StreamBalanceMode.ONCE)
    stream.register_operator_output(model)
    stream.build()
    return stream, model

def image_of(value, size=8):
    pixels = np.full((3, size, size), value, np.uint8)
    return vsx.create_image(pixels, vsx.ImageFormat.RGB_PLANAR, size, size, 0)

stream, model = stream_of(*sys.argv[1:3])
"""


def write_script(folder: Path, body: str) -> Path:
    path = folder / "script.py"
    path.write_text(START + dedent(body))
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> tuple[Path, Path]:
    return script_bundle(tmp_path, scripts.CLASSIFICATION), vdsp_json(tmp_path)


def test_a_segmentation_script_prints_the_foreground_iou(tmp_path: Path) -> None:
    prefix = script_bundle(
        tmp_path, scripts.SEGMENTATION, preprocessing=Preprocessing(scripts.DIV255, (3, 8, 8))
    )
    images = plain_images(tmp_path / "images", [RED, BLUE, RED])
    masks = tmp_path / "masks"
    masks.mkdir()
    half = np.zeros((12, 12), np.uint8)
    half[:6] = 255
    for name in ("000_matte", "001_matte", "002"):
        Image.fromarray(half).save(masks / f"{name}.png")

    done = run_vsx(
        scripts.SCRIPTS / "segmentation.py",
        *("--image_dir", images, "--mask_dir", masks, "--save_dir", "out", "--batch", "1"),
        *("--model_prefix_path", prefix, "--vdsp_params_info", vdsp_json(tmp_path)),
        *("--device", "0"),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # red is all foreground (half right), blue none
    assert "mean iou: 0.333333333" in done.stdout
    assert END in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "000.png",
        "001.png",
        "002.png",
    ]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared with real networks")
def test_a_segmentation_script_is_as_accurate_as_the_runner(tmp_path: Path) -> None:
    network = onnx.load(SHARED / "models" / "unet3p_human_128.onnx")
    prefix = script_bundle(tmp_path, network)
    json_path = vdsp_json(tmp_path, OimageWidth=128, OimageHeight=128)
    images, masks = (SHARED / "data" / "human" / "test" / name for name in ("images", "masks"))
    some = tmp_path / "images"
    some.mkdir()
    for path in sorted(images.iterdir())[:6]:
        shutil.copy(path, some)

    done = run_vsx(
        scripts.SCRIPTS / "segmentation.py",
        *("--file_path", some, "--mask_dir", masks),
        *("--model_prefix_path", prefix, "--vdsp_params_info", json_path),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    ious = []
    with Runner(prefix, vdsp_params=json_path) as runner:
        for path in sorted(some.iterdir()):
            predicted = runner.run(path)["output"][0, 0] > 0
            label = cv2.imread(str(next(masks.glob(f"{path.stem}.*"))), cv2.IMREAD_GRAYSCALE)
            assert label is not None
            truth = cv2.resize(label, (128, 128)) >= 125
            ious.append((predicted & truth).sum() / (predicted | truth).sum())
    assert done.stdout.splitlines()[-1] == f"mean iou: {np.mean(ious):.9f}"
    assert np.mean(ious) > 0.5


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_classification_script_names_the_class_of_every_image(
    tmp_path: Path, classifier: tuple[Path, Path], mode: str
) -> None:
    prefix, json_path = classifier
    images = plain_images(tmp_path / "images", [RED, GREEN, BLUE, RED])
    labels = tmp_path / "labels.txt"
    labels.write_text("red\ngreen\nblue\n")

    done = run_vsx(
        scripts.SCRIPTS / "classification.py",
        *("--image_dir", images, "--label_txt", labels, "--infer_mode", mode),
        *("--model_prefix_path", prefix, "--vdsp_params_info", json_path),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "=>" in line]
    names = ["red", "green", "blue", "red"]
    assert lines == [f"{i:03d}.png => top1: {name} 0.7842" for i, name in enumerate(names)]


def test_a_detection_script_finds_boxes_in_the_original_image(tmp_path: Path) -> None:
    prefix = script_bundle(tmp_path, scripts.DETECTION)
    json_path = vdsp_json(tmp_path, "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR")
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.full((20, 40, 3), (255, 0, 0), np.uint8)).save(folder / "wide.png")

    done = run_vsx(
        scripts.SCRIPTS / "detection.py",
        *("--file_path", folder),
        *("--model_prefix_path", prefix, "--vdsp_params_info", json_path),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == (
        "wide.png class 1 score 1.000 box 20.0 0.0 40.0 20.0"  # rows 2 to 6 hold the image
    )


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        ([], "(8, 8) 24"),  # in the network's input: 4 rows, and 1 more by enlarging at each side
        (["--retina_masks"], "(20, 40) 400"),
    ],
)
def test_an_instance_segmentation_script_finds_boxes_and_masks(
    tmp_path: Path, options: list[str], mask: str
) -> None:
    prefix = script_bundle(tmp_path, INSTANCES)
    json_path = vdsp_json(tmp_path, "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR")
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    Image.fromarray(pixels).save(tmp_path / "half.png")

    done = run_vsx(
        scripts.SCRIPTS / "instance_segmentation.py",
        *("-m", prefix, "--vdsp_params", json_path, "--elf_file", "absent"),
        *("--input_file", "half.png", *options),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"class 1 score 0.750 box 0.0 0.0 40.0 20.0 mask {mask}\n"


def test_an_instance_segmentation_script_reads_what_seg_enable_compiles(tmp_path: Path) -> None:
    project = make_project(tmp_path, dtype="fp16")
    onnx.save(small_yolo(masks=32), tmp_path / "net.onnx")
    project.document["frontend"]["shape"] = {"images": [1, 3, 32, 32]}
    project.document["dataset"]["process_ops"][1]["size"] = [32, 32]
    params = {"num_classes": 3, "confidence_threshold": 0.3, "nms_thresh": 0.5, "post_nms": 12}
    project.document["graph"] = {
        "extra_ops": {"type": "yolov8_nms", "params": {**params, "seg_enable": True}}
    }
    prefix = compile_model(load_config(project.write())).prefix
    letterbox = "FUSION_OP_RGB_LETTERBOX_CVTCOLOR_NORM_TENSOR"
    json_path = vdsp_json(tmp_path, letterbox, OimageWidth=32, OimageHeight=32)
    image = tmp_path / "calib" / "image_0.png"

    done = run_vsx(
        scripts.SCRIPTS / "instance_segmentation.py",
        *("-m", prefix, "--vdsp_params", json_path, "--input_file", image, "--retina_masks"),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    with Runner(prefix, vdsp_params=json_path) as runner:
        outputs = runner.run(image)
    used = outputs["classes"][0, :, 0] >= 0
    height, width = np.asarray(Image.open(image)).shape[:2]
    logits = np.tensordot(outputs["coefficients"][0, used], outputs["prototypes"][0], 1)
    lines = done.stdout.splitlines()
    assert len(lines) == used.sum() >= 2
    for line, score, cells in zip(lines, outputs["scores"][0, used, 0], logits, strict=True):
        words = line.split()
        assert float(words[3]) == pytest.approx(score, abs=2e-3)
        assert f"mask ({height}, {width})" in line
        x1, y1, x2, y2 = map(float, words[5:9])
        assert 0 <= x1 <= x2 <= width
        assert 0 <= y1 <= y2 <= height
        area = (x2 - x1 + 1) * (y2 - y1 + 1)
        assert 0 <= int(words[-1]) <= (area if (cells > 0).any() else 0)


def test_a_vision_transformer_script_hands_over_patches_and_gets_a_flat_output(
    tmp_path: Path,
) -> None:
    prefix = script_bundle(tmp_path, FIRST_VALUES)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[5, 20] = (255, 0, 0)  # in the second patch
    pixels[18, 3] = (204, 0, 0)  # in the third
    Image.fromarray(pixels).save(tmp_path / "dots.png")

    done = run_vsx(
        scripts.SCRIPTS / "vision_transformer.py",
        *("-m", prefix, "--norm_elf_file", "absent", "--space_to_depth_elf_file", "absent"),
        *("--input_file", "dots.png"),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "top-0 id: 180, prob: 1.0000\ntop-1 id: 579, prob: 0.6001\n"


@pytest.mark.parametrize("queue_size", [0, 2])
def test_a_profiler_measures_several_instances(
    tmp_path: Path, classifier: tuple[Path, Path], queue_size: int
) -> None:
    prefix, json_path = classifier

    done = run_vsx(
        scripts.SCRIPTS / "segmentation_prof.py",
        *("-m", prefix, "--vdsp_params", json_path, "-d", "[0]", "-b", "2", "-i", "2"),
        *("--iterations", "8", "--queue_size", queue_size),
        cwd=tmp_path,
        options=["--threads", "1", "--instances", "2"],
    )

    assert done.returncode == 0, done.stderr
    assert "- number of instances: 2" in done.stdout
    assert "throughput (qps): " in done.stdout


def test_a_script_whose_main_thread_raises_ends_with_1_and_its_own_traceback(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    script = write_script(
        tmp_path,
        """
        def consume():
            try:
                stream.get_operator_output(model)
            except ValueError as end:
                print(end)

        threading.Thread(target=consume).start()
        {}["absent"]
        """,
    )

    done = run_vsx(script, *classifier, cwd=tmp_path)

    assert done.returncode == 1
    assert "the stream has ended" in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{script}", line ')  # nothing of ours before it
    assert lines[-1] == "KeyError: 'absent'"


def test_a_consumer_that_raises_ends_the_process(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    script = write_script(
        tmp_path,
        """
        done = threading.Event()

        def consume():
            stream.get_operator_output(model)
            {}["absent"]
            done.set()

        threading.Thread(target=consume).start()
        stream.run_async([image_of(1)])
        print("waiting")
        done.wait()
        """,
    )

    done = run_vsx(script, *classifier, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stdout == "waiting\n"
    assert "KeyError: 'absent'" in done.stderr


def test_results_are_read_to_the_end_when_other_threads_go_on_without_the_main_one(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    script = write_script(
        tmp_path,
        """
        import time

        def produce():
            for value in range(3):
                time.sleep(0.7)  # longer than readers wait before they look at the main thread
                stream.run_async([image_of(value)])

        def consume():
            count = 0
            try:
                while True:
                    stream.get_operator_output(model)
                    count += 1
            except ValueError:
                print(count)

        threading.Thread(target=consume).start()
        threading.Thread(target=produce).start()
        """,
    )

    done = run_vsx(script, *classifier, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, "3\n")


def test_a_reader_that_dies_of_the_end_leaves_the_process_alone(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    script = write_script(
        tmp_path,
        """
        def consume():
            while True:
                stream.get_operator_output(model)

        reader = threading.Thread(target=consume)
        reader.start()
        stream.close_input()
        reader.join()
        print("the work after it")
        """,
    )

    done = run_vsx(script, *classifier, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, "the work after it\n")
    assert END in done.stderr


def test_a_producer_thread_that_submits_a_wrong_sample_ends_the_process(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    script = write_script(
        tmp_path,
        """
        done = threading.Event()

        def produce():
            stream.run_async([np.zeros((3, 8, 8), np.uint8)])
            done.set()

        threading.Thread(target=produce).start()
        done.wait()
        """,
    )

    done = run_vsx(script, *classifier, cwd=tmp_path)

    assert done.returncode == 6
    assert "give an Image, or a list of Tensors" in done.stderr


def test_a_worker_that_fails_ends_the_process_with_a_traceback(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    prefix, _ = classifier
    crop = vdsp_json(
        tmp_path,
        "FUSION_OP_RGB_CROP_RESIZE_CVTCOLOR_NORM_TENSOR",
        CropWidth=20,
        CropHeight=20,
        CropX=0,
        CropY=0,
    )
    script = write_script(
        tmp_path,
        """
        stream.run_async([image_of(1)])  # smaller than the crop
        stream.close_input()
        stream.wait_until_done()
        print("not reached")
        stream.get_operator_output(model)
        """,
    )

    done = run_vsx(script, prefix, crop, cwd=tmp_path)

    assert done.returncode == 4
    assert "does not contain 20×20" in done.stderr
    assert done.stderr.startswith("Traceback")


def test_an_error_of_modc_names_the_line_of_the_script_and_the_repair(
    tmp_path: Path, classifier: tuple[Path, Path]
) -> None:
    prefix, json_path = classifier
    script = write_script(tmp_path, "")

    done = run_vsx(script, prefix.parent / "absent" / "mod", json_path, cwd=tmp_path)

    assert done.returncode == 6
    assert f'File "{script}", line ' in done.stderr
    assert "vsx.Model(prefix, 1)" in done.stderr
    assert "\nmodc: " in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_json_that_contradicts_the_bundle_is_warned_of_once(tmp_path: Path) -> None:
    prefix = script_bundle(
        tmp_path, scripts.CLASSIFICATION, preprocessing=Preprocessing(scripts.DIV255, (3, 8, 8))
    )
    swapped = vdsp_json(tmp_path, ColorCvtCode="RGB2BGR")
    script = write_script(
        tmp_path, "for _ in range(3): print(vsx.as_numpy(stream.run_sync([image_of(1)])[0][0]))"
    )

    done = run_vsx(script, prefix, swapped, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count(str(swapped)) == 1


def test_a_script_sees_the_arguments_folder_and_names_that_python_would_give_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "beside.py").write_text("VALUE = 5\n")
    script = folder / "script.py"
    script.write_text(
        "import sys, beside, numpy, vaststreamx\n"
        "print(__name__, sys.argv, beside.VALUE, numpy.int is int, numpy.float is float)\n"
        "sys.exit(7)\n"
    )

    done = run_vsx(script, "--help", "--", "-x", cwd=tmp_path)

    assert done.returncode == 7
    expected = ["__main__", [str(script), "--help", "--", "-x"], 5, True, True]
    assert done.stdout == " ".join(map(str, expected)) + "\n"


def test_a_script_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    done = run_vsx(tmp_path / "absent.py", cwd=tmp_path)

    assert done.returncode == 2
    assert (
        done.stderr == f"modc: {tmp_path / 'absent.py'}: no such script\n  fix: correct the path\n"
    )


def test_a_script_that_does_not_compile_is_shown_as_python_shows_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print(\n")

    done = run_vsx(script, cwd=tmp_path)

    assert done.returncode == 1
    assert "SyntaxError" in done.stderr
    assert "runpy" not in done.stderr

"""Scripts of the published pattern, run by `modc vsx` in a process of their own."""

import shutil
from pathlib import Path
from textwrap import dedent

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

from compiler import Runner
from compiler.runner.manifest import Preprocessing
from tests.support import scripts
from tests.support.scripts import plain_images, run_vsx, script_bundle, vdsp_json

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
END = "the stream has ended"
RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)

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

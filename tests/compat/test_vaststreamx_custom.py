"""Operators of the device that are known here by their names, against plain loops."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import compiler.compat.vaststreamx as vsx
from compiler.compat.vaststreamx.feeds import tensor_feeds
from compiler.compat.vaststreamx.instance_masks import InstanceMasks
from compiler.compat.vaststreamx.normalize_image import NormalizeImage
from compiler.compat.vaststreamx.space_to_depth import SpaceToDepth
from compiler.errors import BundleError, MissingRequirementError
from compiler.preprocess.ops import PadTo, Resize
from compiler.runner.manifest import TensorSpec
from tests.support.scripts import script_bundle

Array = NDArray[Any]
Size = tuple[int, int]
HALF, BYTE, COUNT = vsx.TypeFlag.FLOAT16, vsx.TypeFlag.UINT8, vsx.TypeFlag.UINT32
IMAGENET = ([14275, 14156, 13951, 0], [13140, 13099, 13107, 0])  # .485 … as bits of float16
NEAR = 1e-3  # of a border or of a logit 0, within which float32 may decide otherwise


class Layout(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("height", "width", "h_pitch", "w_pitch")]


class MaskConfig(ctypes.Structure):
    _fields_ = [
        *((f"{name}_shape", Layout) for name in ("model_in", "model_out", "origin_image")),
        *((name, ctypes.c_uint32) for name in ("k", "retina_masks", "max_detect_num")),
    ]


class NormalizeConfig(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_uint32)
            for name in ("width", "height", "in_w", "in_h", "out_w", "out_h")
        ),
        ("ch_num", ctypes.c_uint32),
        ("norma_type", ctypes.c_int32),
        ("mean", ctypes.c_uint16 * 4),
        ("std", ctypes.c_uint16 * 4),
    ]


class PatchConfig(ctypes.Structure):
    _fields_ = [
        ("input_dims_num", ctypes.c_uint32),
        ("input_dims", ctypes.c_uint32 * 4),
        ("input_align_dims", ctypes.c_uint32 * 4),
        ("input_layout", ctypes.c_int32),
        ("input_type", ctypes.c_int32),
        ("kh", ctypes.c_uint32),
        ("kw", ctypes.c_uint32),
        ("output_dims_num", ctypes.c_uint32),
        ("output_dims", ctypes.c_uint32 * 4),
        ("output_align_dims", ctypes.c_uint32 * 4),
        ("output_layout", ctypes.c_int32),
    ]


def mask_config(
    model: Size, cells: Size, image: Size, *, k: int = 2, retina: int = 1, rows: int = 4
) -> bytes:
    layouts = [Layout(*size, *size) for size in (model, cells, image)]
    return bytes(MaskConfig(*layouts, k, retina, rows))


def normalize_config(
    height: int, width: int, formula: int, *, channels: int = 3, **changes: int
) -> bytes:
    mean, std = ((ctypes.c_uint16 * 4)(*bits) for bits in IMAGENET)
    sizes = (width, height) * 3
    config = NormalizeConfig(*sizes, channels, formula, mean, std)
    for name, value in changes.items():
        setattr(config, name, value)
    return bytes(config)


def patch_config(
    shape: tuple[int, int, int],
    kernel: Size,
    matrix: Size,
    *,
    held: Size | None = None,
    **changes: int,
) -> bytes:
    channels, height, width = shape
    kh, kw = kernel
    four = ctypes.c_uint32 * 4
    config = PatchConfig(
        *(4, four(1, *shape), four(1, 4, *(held or shape[1:])), 0, 0, kh, kw),
        *(2, four(height // kh * (width // kw), channels * kh * kw), four(*matrix), 1),
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return bytes(config)


def operator(name: str) -> vsx.CustomOperator:
    return vsx.CustomOperator(name, "absent.elf")


def tensor(values: object, kind: type = np.float16) -> vsx.Tensor:
    return vsx.from_numpy(np.array(values, kind), 0)


def test_other_programs_are_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(MissingRequirementError, match=r"'gather'.*a\.elf.*opf_normalize") as error:
        vsx.CustomOperator(op_name="gather", elf_file_path="a.elf")
    assert error.value.exit_code == 7
    assert "yolov8_seg_op" in str(error.value)
    assert "opf_space_to_depth_out_matrix" in str(error.value)


@pytest.mark.parametrize(
    ("structure", "operation", "size"),
    [
        (MaskConfig, InstanceMasks, 60),
        (NormalizeConfig, NormalizeImage, 48),
        (PatchConfig, SpaceToDepth, 92),
    ],
)
def test_configurations_have_the_size_of_the_structure_in_c(
    structure: type[ctypes.Structure], operation: type, size: int
) -> None:
    assert ctypes.sizeof(structure) == size
    assert operation.layout.size == size  # type: ignore[attr-defined]  # of all three


def test_a_configuration_can_be_set_or_given_with_the_call() -> None:
    normalize = vsx.CustomOperator("opf_normalize", "absent.elf", input_output_num=[1, 1])
    config = normalize_config(2, 2, 4)
    image = vsx.create_image(np.full((3, 2, 2), 51, np.uint8), vsx.ImageFormat.RGB_PLANAR, 2, 2, 0)
    info = [([3, 2, 2], HALF)]
    with pytest.raises(BundleError, match="call set_config first"):
        normalize.execute(tensors=[image], output_info=info)

    normalize.set_config(config_bytes=config, config_size=48)
    normalize.set_callback_info([(1, 2, 2)], [(1, 2, 2)])
    (executed,) = normalize.execute(tensors=[image], output_info=info)
    (run,) = normalize.run_sync(tensors=[image], config=normalize_config(2, 2, 0), output_info=info)

    assert (executed.shape, executed.dtype) == ([3, 2, 2], HALF)
    np.testing.assert_array_equal(vsx.as_numpy(executed), np.full((3, 2, 2), np.float16(0.2)))
    np.testing.assert_array_equal(vsx.as_numpy(run), np.full((3, 2, 2), 51))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda op: op.set_config(bytes(47), 47), r"set_config: .*47 bytes.*\n.*48 bytes"),
        (lambda op: op.set_config(bytes(48), 60), "48 bytes with config_size 60"),
        (lambda op: op.run_sync([], bytes(60), []), r"run_sync: .*60 bytes"),
        (lambda op: op.set_config(normalize_config(2, 2, 5), 48), "norma_type 5 .*expected 0 to 4"),
        (lambda op: op.set_config(normalize_config(0, 2, 4), 48), r"input has sizes \[2, 0\]"),
        (lambda op: op.set_config(normalize_config(2, 2, 4, in_w=4), 48), r"pitches \[4, 2\]"),
        (lambda op: op.set_config(normalize_config(2, 2, 4, ch_num=5), 48), "5 channels"),
        (lambda op: op.set_config(normalize_config(2, 2, 1, channels=4), 48), "contains 0"),
    ],
)
def test_impossible_configurations_are_refused(
    call: Callable[[vsx.CustomOperator], object], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        call(operator("opf_normalize"))


@pytest.mark.parametrize(
    ("tensors", "info", "message"),
    [
        ([], [([3, 2, 2], HALF)], "0 tensors and output_info of 1 results.*\n.*give 1 and 1"),
        ([np.zeros((3, 2, 2), np.uint8)], [], "1 tensors and output_info of 0"),
        ([np.zeros((3, 2, 2), np.uint8)], [([3, 2], HALF)], r"\[3, 2\] given for result 0"),
        ([np.zeros((3, 2, 2), np.uint8)], [([-3, -2, 2], HALF)], r"\[-3, -2, 2\] given"),
        ([np.zeros((2, 2, 3), np.uint8)], [([3, 2, 2], HALF)], r"image \[2, 2, 3\] given"),
        ([np.zeros((3, 2, 2), np.float16)], [([3, 2, 2], HALF)], "float16 pixels"),
    ],
)
def test_tensors_and_results_that_do_not_fit_are_refused(
    tensors: list[Array], info: list[tuple[list[int], vsx.TypeFlag]], message: str
) -> None:
    given = [vsx.from_numpy(array, 0) for array in tensors]
    with pytest.raises(BundleError, match=message):
        operator("opf_normalize").run_sync(given, normalize_config(2, 2, 4), info)


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises(BundleError, match="tensors of ndarray given"):
        operator("opf_normalize").run_sync(
            [np.zeros((3, 2, 2), np.uint8)],  # type: ignore[list-item]  # the mistake
            normalize_config(2, 2, 4),
            [([3, 2, 2], HALF)],
        )


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (0, [128, 64, 255]),
        (1, [556.65, 283.67, 1131.5]),
        (2, [0.0736083984375, -0.91552734375, 2.640625]),
        (3, [0.0039215087890625, -0.498046875, 1]),
        (4, [0.501953125, 0.2509765625, 1]),
    ],
)
def test_pixels_are_normalised_as_by_a_vdsp_json(formula: int, expected: list[float]) -> None:
    image = vsx.create_image(
        np.array([128, 64, 255], np.uint8).reshape(3, 1, 1), vsx.ImageFormat.RGB_PLANAR, 1, 1, 0
    )
    (result,) = operator("opf_normalize").run_sync(
        [image], normalize_config(1, 1, formula), [([1, 3, 1, 1], HALF)]
    )
    tolerance = 1e-3 if formula == 1 else 0  # the others are golden
    assert result.shape == [1, 3, 1, 1]
    np.testing.assert_allclose(vsx.as_numpy(result).ravel(), expected, rtol=tolerance)


def patches_by_loops(image: Array, kh: int, kw: int, matrix: Size) -> Array:
    result = np.zeros(matrix, np.float16)
    channels, height, width = image.shape
    for row in range(height // kh):
        for column in range(width // kw):
            patch = [
                image[c, row * kh + y, column * kw + x]
                for c in range(channels)
                for y in range(kh)
                for x in range(kw)
            ]
            result[row * (width // kw) + column, : len(patch)] = patch
    return result


@given(
    st.integers(1, 4),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
@settings(max_examples=50, deadline=None)
def test_a_matrix_has_the_patches_of_an_image_and_becomes_it_again(
    channels: int, grid: Size, kernel: Size, fill: Size, rest: Size
) -> None:
    height, width = grid[0] * kernel[0], grid[1] * kernel[1]
    held = height + rest[0], width + rest[1]
    image = np.arange(channels * held[0] * held[1], dtype=np.float16).reshape(channels, *held) + 1
    matrix = grid[0] * grid[1] + fill[0], channels * kernel[0] * kernel[1] + fill[1]
    config = patch_config((channels, height, width), kernel, matrix, held=held)

    (result,) = operator("opf_space_to_depth_out_matrix").run_sync(
        [vsx.from_numpy(image, 0)], config, [(list(matrix), HALF)]
    )

    used = image[:, :height, :width]
    expected = patches_by_loops(used, *kernel, matrix)
    np.testing.assert_array_equal(vsx.as_numpy(result), expected)
    spec = TensorSpec("x", (1, channels, *held), "float32")
    restored = tensor_feeds([result.clone(0)], [spec])["x"]
    np.testing.assert_array_equal(restored[0, :, :height, :width], used)
    assert restored.sum(dtype=float) == used.sum(dtype=float)  # 0 where no patch was


@pytest.mark.parametrize(
    ("side", "patch", "real", "matrix"),
    [
        (224, 16, (196, 768), (208, 1024)),
        (224, 14, (256, 588), (256, 784)),
        (518, 14, (1369, 588), (1376, 592)),
    ],
)
def test_matrices_of_published_networks_are_made_and_undone(
    side: int, patch: int, real: Size, matrix: Size
) -> None:
    image = np.random.default_rng(0).normal(size=(3, side, side)).astype(np.float16)
    (result,) = operator("opf_space_to_depth_out_matrix").run_sync(
        [vsx.from_numpy(image, 0)],
        patch_config((3, side, side), (patch, patch), matrix),
        [(list(matrix), HALF)],
    )
    values = vsx.as_numpy(result)
    assert values[: real[0], : real[1]].all()
    assert not values[real[0] :].any()
    assert not values[:, real[1] :].any()
    spec = TensorSpec("x", (1, 3, side, side), "float32")
    np.testing.assert_array_equal(tensor_feeds([result], [spec])["x"][0], image)


def test_a_matrix_goes_to_networks_that_take_its_image_or_itself() -> None:
    image = np.arange(48, dtype=np.float16).reshape(3, 4, 4)
    (matrix,) = operator("opf_space_to_depth_out_matrix").run_sync(
        [vsx.from_numpy(image, 0)], patch_config((3, 4, 4), (2, 2), (16, 16)), [([16, 16], HALF)]
    )
    as_image = TensorSpec("x", (1, 3, 4, 4), "float32")
    np.testing.assert_array_equal(tensor_feeds([matrix], [as_image])["x"], image[None])
    as_matrix = TensorSpec("x", (1, 16, 16), "float32")
    given = tensor_feeds([matrix], [as_matrix])["x"]
    np.testing.assert_array_equal(given[0], vsx.as_numpy(matrix))
    with pytest.raises(BundleError, match=r"float16\[1, 3, 4, 4\] given"):
        tensor_feeds([matrix], [TensorSpec("x", (1, 3, 8, 8), "float32")])
    with pytest.raises(BundleError, match=r"float16\[16, 16\] given"):  # nobody knows how made
        tensor_feeds([vsx.from_numpy(vsx.as_numpy(matrix), 0)], [as_image])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (patch_config((3, 4, 4), (2, 2), (4, 12), input_layout=1), "layout 1, type 0"),
        (patch_config((3, 4, 4), (2, 2), (4, 12), input_type=1), "type 1"),
        (patch_config((3, 4, 4), (2, 2), (4, 12), output_layout=0), "layout 0 given"),
        (patch_config((3, 4, 4), (2, 2), (4, 12), input_dims_num=3), "input of 3 dimensions"),
        (patch_config((3, 4, 4), (2, 2), (4, 12), kh=3), "1 image of whole patches"),
        (patch_config((3, 4, 4), (2, 2), (4, 12), kw=0), "1 image of whole patches"),
        (patch_config((3, 4, 4), (2, 2), (4, 12), kw=4), r"for a matrix of \[2, 24\]"),
        (patch_config((3, 4, 4), (2, 2), (4, 8)), r"\[4, 8\] in memory"),
        (patch_config((3, 4, 4), (2, 2), (4, 12), held=(4, 3)), "larger than"),
    ],
)
def test_matrices_that_cannot_be_are_refused(config: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        operator("opf_space_to_depth_out_matrix").set_config(config, len(config))


def test_patches_are_made_of_float16() -> None:
    with pytest.raises(BundleError, match="float32 values"):
        operator("opf_space_to_depth_out_matrix").run_sync(
            [tensor(np.zeros((3, 4, 4)), np.float32)],
            patch_config((3, 4, 4), (2, 2), (4, 12)),
            [([4, 12], HALF)],
        )


def bilinear(values: Array, height: int, width: int, y: int, x: int) -> float:
    """The value at a pixel of the resized map, centres of pixels being at halves."""
    rows, columns = values.shape
    down = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
    across = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
    top, left = int(down), int(across)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    dy, dx = down - top, across - left
    upper = values[top, left] * (1 - dx) + values[top, right] * dx
    lower = values[bottom, left] * (1 - dx) + values[bottom, right] * dx
    return float(upper * (1 - dy) + lower * dy)


def inside(box: Array, y: int, x: int) -> bool:
    return bool(box[0] <= x < box[2] and box[1] <= y < box[3])


def sure(logit: float, box: Array, y: int, x: int) -> bool:
    """Whether float32 must decide as the loop does."""
    borders = [abs(box[0] - x), abs(box[2] - x), abs(box[1] - y), abs(box[3] - y)]
    return abs(logit) > NEAR and min(borders) > NEAR


def box_in_image(box: Array, model: Size, image: Size) -> Array:
    ratio = min(model[0] / image[0], model[1] / image[1])
    height, width = (max(1, round(side * ratio)) for side in image)
    top, left = (model[0] - height) // 2, (model[1] - width) // 2
    x = [min(max((v - left) * image[1] / width, 0), image[1]) for v in box[0::2]]
    y = [min(max((v - top) * image[0] / height, 0), image[0]) for v in box[1::2]]
    return np.array([x[0], y[0], x[1], y[1]])


def mask_of_image(logits: Array, box: Array, image: Size) -> tuple[Array, Array]:
    ratio = min(logits.shape[0] / image[0], logits.shape[1] / image[1])
    first, last = [], []
    for cells, side in zip(logits.shape, image, strict=True):
        margin = (cells - side * ratio) / 2
        first.append(round(margin - 0.1))
        last.append(max(cells - round(margin + 0.1), first[-1] + 1))
    part = logits[first[0] : last[0], first[1] : last[1]]
    mask, known = np.zeros(image, bool), np.zeros(image, bool)
    for y in range(image[0]):
        for x in range(image[1]):
            logit = bilinear(part, *image, y, x)
            mask[y, x] = logit > 0 and inside(box, y, x)
            known[y, x] = sure(logit, box, y, x)
    return mask, known


def mask_of_input(logits: Array, box: Array, model: Size) -> tuple[Array, Array]:
    rows, columns = logits.shape
    scaled = box * np.array([columns / model[1], rows / model[0]] * 2)
    cut = np.zeros_like(logits)
    certain = True
    for y in range(rows):
        for x in range(columns):
            certain &= sure(1, scaled, y, x)
            if inside(scaled, y, x):
                cut[y, x] = logits[y, x]
    mask, known = np.zeros(model, bool), np.zeros(model, bool)
    for y in range(model[0]):
        for x in range(model[1]):
            logit = bilinear(cut, *model, y, x)
            mask[y, x] = logit > 0
            known[y, x] = certain and (abs(logit) > NEAR or logit == 0)
    return mask, known


sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(
    *(sizes, sizes, st.tuples(st.integers(1, 30), st.integers(1, 30)), st.booleans()),
    *(st.integers(1, 3), st.integers(0, 2**32 - 1)),
)
@settings(max_examples=80, deadline=None)
def test_masks_are_those_of_a_loop_over_pixels(
    model: Size, cells: Size, image: Size, retina: bool, used: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    classes = np.full((1, 5, 1), -1, np.float16)
    scores = classes.copy()
    classes[0, :used, 0] = random.integers(0, 80, used)
    scores[0, :used, 0] = random.random(used)
    boxes = (random.random((1, 5, 4)) * [*model[::-1], *model[::-1]] * 1.2 - 0.1).astype(np.float16)
    boxes[..., 2:] = np.maximum(boxes[..., :2], boxes[..., 2:])
    coefficients = random.normal(size=(1, 5, 2)).astype(np.float16)
    prototypes = random.normal(size=(1, 2, *cells)).astype(np.float16)
    size = image if retina else model

    results = operator("yolov8_seg_op").run_sync(
        [vsx.from_numpy(a, 0) for a in (classes, scores, boxes, coefficients, prototypes)],
        mask_config(model, cells, image, retina=int(retina)),
        [
            *(([4], HALF), ([4, 1], HALF), ([4, 4], HALF), ([1, 4, *size], BYTE)),
            *(([2], COUNT), ([70], BYTE)),
        ],
    )

    arrays = [vsx.as_numpy(result) for result in results]
    shapes = [(4,), (4, 1), (4, 4), (1, 4, *size), (2,), (70,)]
    assert [array.shape for array in arrays] == shapes
    assert arrays[4].tolist() == [used, 0]
    assert not arrays[5].any()
    np.testing.assert_array_equal(arrays[0][:used], classes[0, :used, 0])
    np.testing.assert_array_equal(arrays[1][:used, 0], scores[0, :used, 0])
    assert not any(array[used:].any() for array in (*arrays[:3], arrays[3][0]))
    for row in range(used):
        box = boxes[0, row].astype(float)
        placed = box_in_image(box, model, image)
        np.testing.assert_allclose(arrays[2][row], placed, rtol=1e-3, atol=1e-3)
        logits = np.tensordot(coefficients[0, row].astype(float), prototypes[0].astype(float), 1)
        mask, known = (
            mask_of_image(logits, placed, image) if retina else mask_of_input(logits, box, model)
        )
        np.testing.assert_array_equal(arrays[3][0, row][known], mask[known])
        assert set(np.unique(arrays[3])) <= {0, 1}


@pytest.mark.parametrize("image", [(375, 500), (427, 640), (500, 333), (1080, 1920), (612, 612)])
def test_a_box_around_the_letterboxed_image_is_the_whole_image(image: Size) -> None:
    model = 640, 640
    height, width = Resize(size=model, adaptive_side="long").target(*image)
    top, _, left, _ = PadTo(size=model).edges(height, width)
    inputs = [[0], [1], [[left, top, left + width, top + height]], [[1, 0]], np.ones((2, 4, 4))]
    results = operator("yolov8_seg_op").run_sync(
        [tensor(values) for values in inputs],
        mask_config(model, (4, 4), image, rows=1),
        [
            *(([1], HALF), ([1], HALF), ([1, 4], HALF), ([1, *image], BYTE)),
            *(([2], COUNT), ([0], BYTE)),
        ],
    )
    assert vsx.as_numpy(results[2])[0].tolist() == [0, 0, image[1], image[0]]
    assert vsx.as_numpy(results[3]).all()


@pytest.mark.parametrize("retina", [0, 1])
def test_a_mask_has_the_pixels_from_the_first_corner_up_to_the_second(retina: int) -> None:
    inputs = [[0], [1], [[2, 1, 5, 3]], [[1, 0]], np.ones((2, 4, 6))]
    results = operator("yolov8_seg_op").run_sync(
        [tensor(values) for values in inputs],
        mask_config((4, 6), (4, 6), (4, 6), rows=1, retina=retina),
        [
            *(([1], HALF), ([1], HALF), ([1, 4], HALF), ([1, 4, 6], BYTE)),
            *(([2], COUNT), ([0], BYTE)),
        ],
    )
    expected = np.zeros((4, 6))
    expected[1:3, 2:5] = 1
    np.testing.assert_array_equal(vsx.as_numpy(results[3])[0], expected)


def test_the_border_of_the_letterbox_is_cut_off_at_the_nearest_cell() -> None:
    # 4 rows × 6 columns fill rows 2 to 10 of 12, 1.83 to 9.17 of 11, and 1.5 to 7.5 of 9
    for cells, first, last in ((12, 2, 10), (11, 2, 9), (9, 1, 7)):
        rows = np.full((cells, cells), -1.0)
        rows[first:last] = 1
        inputs = [[0], [1], [[0, 0, 12, 12]], [[1, 0]], np.stack([rows, rows])]
        results = operator("yolov8_seg_op").run_sync(
            [tensor(values) for values in inputs],
            mask_config((12, 12), (cells, cells), (4, 6), rows=1),
            [
                *(([1], HALF), ([1], HALF), ([1, 4], HALF), ([1, 4, 6], BYTE)),
                *(([2], COUNT), ([0], BYTE)),
            ],
        )
        assert vsx.as_numpy(results[3]).all()


def test_an_image_without_objects_has_empty_results() -> None:
    inputs = [[-1], [-1], np.full((1, 4), -1), np.ones((1, 2)), np.ones((2, 4, 4))]
    results = operator("yolov8_seg_op").run_sync(
        [tensor(values) for values in inputs],
        mask_config((8, 8), (4, 4), (8, 8), rows=1),
        [
            *(([1], HALF), ([1], HALF), ([1, 4], HALF), ([1, 8, 8], BYTE)),
            *(([2], COUNT), ([9], BYTE)),
        ],
    )
    assert not any(vsx.as_numpy(result).any() for result in results)


def test_no_more_objects_than_asked_for_are_given() -> None:
    inputs = [[3, 2, 1], [0.9, 0.8, 0.7], np.zeros((3, 4)), np.ones((3, 2)), np.ones((2, 1, 1))]
    classes, *_, count, _ = operator("yolov8_seg_op").run_sync(
        [tensor(values) for values in inputs],
        mask_config((8, 8), (1, 1), (8, 8), rows=2),
        [
            *(([2], HALF), ([2], HALF), ([2, 4], HALF), ([2, 8, 8], BYTE)),
            *(([2], COUNT), ([0], BYTE)),
        ],
    )
    assert vsx.as_numpy(classes).tolist() == [3, 2]
    assert vsx.as_numpy(count).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (mask_config((0, 8), (4, 4), (8, 8)), r"model_in_shape has sizes \[0, 8\]"),
        (mask_config((8, 8), (4, 4), (8, -8)), r"origin_image_shape has sizes \[8, -8\]"),
        (mask_config((8, 8), (4, 4), (8, 8), retina=2), "retina_masks 2"),
        (mask_config((8, 8), (4, 4), (8, 8), k=0), "k 0"),
        (mask_config((8, 8), (4, 4), (8, 8), rows=0), "max_detect_num 0"),
    ],
)
def test_configurations_of_masks_that_cannot_be_are_refused(config: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        operator("yolov8_seg_op").set_config(config, 60)


def test_outputs_of_another_network_are_refused_by_name() -> None:
    inputs = [[1], [1], np.zeros((1, 4)), np.ones((1, 3)), np.ones((2, 4, 4))]
    with pytest.raises(BundleError, match=r"coefficients \[1, 3\] given; expected \[1, 2\]"):
        operator("yolov8_seg_op").run_sync(
            [tensor(values) for values in inputs],
            mask_config((8, 8), (4, 4), (8, 8), rows=1),
            [
                *(([1], HALF), ([1], HALF), ([1, 4], HALF), ([1, 8, 8], BYTE)),
                *(([2], COUNT), ([0], BYTE)),
            ],
        )


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("GRAPH_OUTPUT_TYPE_884_DEVICE", [3]), ("GRAPH_OUTPUT_TYPE_NCHW_DEVICE", [1, 3])],
)
def test_only_a_graph_of_type_884_hands_out_flat_outputs(
    tmp_path: Path, kind: str, shape: list[int]
) -> None:
    network = "net (float[1, 3] x) => (float[1, 3] y) { y = Identity(x) }"
    model = vsx.ModelOperator(vsx.Model(str(script_bundle(tmp_path, network))))
    graph = vsx.Graph(output_type=vsx.GraphOutputType[kind])
    graph.add_operators(model)
    stream = vsx.Stream(graph)
    stream.register_operator_output(model)
    stream.build()
    values = tensor([[1, 2, 3]])
    stream.run_async([[values]])
    stream.close_input()
    assert stream.run_sync([[values]])[0][0].shape == shape
    assert stream.get_operator_output(model)[0][0].shape == shape

"""What the linter tries instead of a chain."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from compiler.pipeline.alternatives import list_alternatives, op_text
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import (
    CenterCrop,
    CustomFunc,
    CvtColor,
    DecodeImage,
    Normalize,
    Op,
    Pad,
    Resize,
    ToTensor,
)
from compiler.preprocess.serialise import op_from_dict

SHAPE = (3, 8, 8)
IMAGE: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (20, 12, 3), np.uint8)
UNIT = Normalize(norm_type=None)
IMAGENET = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def _chain(*steps: Op, resize: tuple[Op, ...] = (Resize(size=(8, 8)),)) -> Chain:
    return Chain([DecodeImage(), *resize, *steps, ToTensor()], SHAPE)


def _values(chain: Chain, name: str) -> NDArray[np.float32]:
    [found] = [one for one in list_alternatives(chain) if one.name == name]
    return found.load(IMAGE)


def _names(chain: Chain, *, pixels: bool = False) -> list[str]:
    return [one.name for one in list_alternatives(chain, pixels=pixels)]


def test_the_order_is_the_same_chain_with_red_and_blue_exchanged() -> None:
    chain = _chain(UNIT)
    np.testing.assert_array_equal(_values(chain, "BGR order"), chain(IMAGE)[:, ::-1])


def test_a_swap_is_taken_back() -> None:
    swapped = Chain(
        [DecodeImage(), CvtColor(code="COLOR_RGB2BGR"), Resize(size=(8, 8)), UNIT, ToTensor()],
        SHAPE,
    )
    np.testing.assert_array_equal(_values(swapped, "RGB order"), _chain(UNIT)(IMAGE))
    [advice] = [one.advice for one in list_alternatives(swapped) if one.kind == "order"]
    assert advice == "remove {type: CvtColor, code: COLOR_RGB2BGR} from dataset.process_ops"


def test_mean_and_std_may_belong_to_the_other_order_too() -> None:
    chain = _chain(IMAGENET)
    np.testing.assert_allclose(
        _values(chain, "BGR order, mean and std too"), chain(IMAGE)[:, ::-1], atol=1e-6
    )


@pytest.mark.parametrize(
    ("steps", "name", "expected"),
    [
        ([UNIT], "0 … 255", lambda raw: raw),
        ([], "0 … 1", lambda raw: raw / 255),
        ([UNIT, UNIT], "normalised once", lambda raw: raw / 255),
        ([UNIT], "-1 … 1", lambda raw: raw / 127.5 - 1),
        ([Normalize(mean=(0.5,), std=(0.25,))], "not divided by 255", lambda raw: (raw - 0.5) * 4),
        (
            [Normalize(mean=(100,), std=(50,), div255=False)],
            "divided by 255 afterwards",
            lambda raw: (raw - 100) / 50 / 255,
        ),
        (
            [Normalize(mean=(100,), std=(50 * 255,), div255=False)],
            "255 times as large",
            lambda raw: (raw - 100) / 50,
        ),
    ],
)
def test_values_take_another_scale(steps: list[Op], name: str, expected: object) -> None:
    assert callable(expected)
    raw = _chain()(IMAGE)
    np.testing.assert_allclose(_values(_chain(*steps), name), expected(raw), rtol=1e-4, atol=1e-5)


def test_no_alternative_is_what_the_chain_does_already() -> None:
    for steps in ([], [UNIT], [IMAGENET]):
        now = _chain(*steps)(IMAGE)
        for one in list_alternatives(_chain(*steps)):
            if one.kind == "values":
                assert not np.allclose(one.load(IMAGE), now, rtol=1e-4), one.name


def test_ways_to_the_size_are_tried_without_the_one_that_is_there() -> None:
    stretched, padded, cropped = (
        _names(_chain(UNIT, resize=resize))
        for resize in (
            (Resize(size=(8, 8)),),
            (Resize(size=(8, 8), adaptive_side="long"), Pad()),
            (Resize(size=(8, 8), adaptive_side="short"), CenterCrop(crop_size=(8, 8))),
        )
    )
    assert {"padded", "centre crop", "averaged"} <= set(stretched)
    assert "stretched" not in stretched
    assert "padded" not in padded
    assert "centre crop" not in cropped


def test_a_network_that_reads_pixels_has_no_other_scale() -> None:
    assert _names(_chain(), pixels=True) == ["BGR order", "padded", "centre crop", "averaged"]


def test_a_grey_image_has_no_other_order() -> None:
    grey = Chain([DecodeImage(cv2_flags=0), Resize(size=(8, 8)), UNIT, ToTensor()], (1, 8, 8))
    assert "BGR order" not in _names(grey)


def test_what_own_code_returns_is_changed_afterwards(tmp_path: Path) -> None:
    code = tmp_path / "own.py"
    code.write_text(
        "import numpy as np\n"
        "def load(image):\n"
        "    return np.stack([np.full((8, 8), v, np.float32) for v in (1, 2, 3)])[None]\n"
    )
    own = Chain(
        [CustomFunc(module_path=str(code), func_name="load")], SHAPE, allow_custom_code=True
    )
    found = {one.name: one.load("any.png")[0, :, 0, 0] for one in list_alternatives(own)}
    assert found["channels reversed"].tolist() == [3, 2, 1]
    assert found["255 times as large"].tolist() == [255, 510, 765]
    np.testing.assert_allclose(found["divided by 255"], np.array([1, 2, 3]) / 255)


@pytest.mark.parametrize("op", [UNIT, IMAGENET, Resize(size=(8, 4), adaptive_side="long"), Pad()])
def test_advice_is_yaml_that_gives_the_op(op: Op) -> None:
    assert op_from_dict(yaml.safe_load(op_text(op))) == op

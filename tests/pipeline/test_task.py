"""The task of a build: images with masks, and the metric on them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compiler.config.load import load_config
from compiler.pipeline.samples import Input
from compiler.pipeline.task import find_task
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import CenterCrop, Normalize, Resize
from compiler.runner.manifest import Postprocessing, TensorSpec
from tests.support.project import make_project


@pytest.mark.parametrize(
    "geometry",
    [CenterCrop(crop_size=16), Resize(size=(16, 16), interpolation="nearest")],
)
@pytest.mark.parametrize("metric", ["foreground_iou", "mean_iou"])
def test_masks_are_compared_where_the_network_sees_the_images(
    metric: str, geometry: CenterCrop | Resize, tmp_path: Path
) -> None:
    project = make_project(tmp_path)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:16, 12:28] = 1
    for folder, pixels in (("images", np.stack([mask * 255] * 3, -1)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / "a.png")
    project.document["verify"] = {"images": "images", "masks": "masks", "metric": metric}
    if metric == "mean_iou":
        project.document["verify"]["classes"] = 2
    task = find_task(
        load_config(project.write()),
        Chain([geometry, Normalize(norm_type=None)], (3, 16, 16)),
        [Input("input", (1, 3, 16, 16), np.dtype(np.float32))],
        TensorSpec("output", (1, 1, 16, 16), "float32"),
        Postprocessing("binary", 0.5),
    )
    assert task is not None
    assert task.measure(lambda feeds: {"output": feeds["input"][:, :1]}) == (100, 1)

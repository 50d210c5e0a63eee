"""Classify an image: the pattern of the published scripts for vision transformers.

Two operators of the device prepare the image: one normalises it, one makes a matrix of its patches,
which is what the device's first layer takes.
"""

import argparse
import ctypes
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import vaststreamx as vsx
from numpy.typing import NDArray

PATCH = 16
DIV127_5_MINUSONE = 3


class NormalizeConfig(ctypes.Structure):
    _fields_ = [
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("in_width_pitch", ctypes.c_uint32),
        ("in_height_pitch", ctypes.c_uint32),
        ("out_width_pitch", ctypes.c_uint32),
        ("out_height_pitch", ctypes.c_uint32),
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


def configure(operator: vsx.CustomOperator, config: ctypes.Structure) -> None:
    size = ctypes.sizeof(config)
    operator.set_config(config_bytes=ctypes.string_at(ctypes.byref(config), size), config_size=size)


class Preparation:
    def __init__(self, shape: list[int], normalize_elf: str, patch_elf: str) -> None:
        _, self.channels, self.height, self.width = shape
        self.normalize = vsx.CustomOperator("opf_normalize", normalize_elf)
        configure(self.normalize, self.normalize_config())
        self.patches = vsx.CustomOperator("opf_space_to_depth_out_matrix", patch_elf)
        rows = (self.height // PATCH) * (self.width // PATCH)
        columns = self.channels * PATCH * PATCH
        self.matrix = -(-rows // 16) * 16, 1 << (columns - 1).bit_length()
        configure(self.patches, self.patch_config(rows, columns))

    def normalize_config(self) -> NormalizeConfig:
        config = NormalizeConfig()
        config.width = config.in_width_pitch = config.out_width_pitch = self.width
        config.height = config.in_height_pitch = config.out_height_pitch = self.height
        config.ch_num = self.channels
        config.norma_type = DIV127_5_MINUSONE
        return config

    def patch_config(self, rows: int, columns: int) -> PatchConfig:
        config = PatchConfig()
        config.input_dims_num = 4
        config.input_dims[:] = [1, self.channels, self.height, self.width]
        config.input_align_dims[:] = [1, 4, self.height, self.width]
        config.kh = config.kw = PATCH
        config.output_dims_num = 2
        config.output_dims[:2] = [rows, columns]
        config.output_align_dims[:2] = self.matrix
        config.output_layout = 1
        return config

    def __call__(self, image: vsx.Image) -> list[vsx.Tensor]:
        planar = vsx.cvtcolor(image, vsx.ImageFormat.RGB_PLANAR)
        resized = vsx.resize(planar, vsx.ImageResizeType.BILINEAR_PILLOW, self.width, self.height)
        normal = self.normalize.execute(
            tensors=[resized],
            output_info=[([self.channels, self.height, self.width], vsx.TypeFlag.FLOAT16)],
        )
        matrices: list[vsx.Tensor] = self.patches.execute(
            tensors=normal, output_info=[(list(self.matrix), vsx.TypeFlag.FLOAT16)]
        )
        return matrices


class Classifier:
    def __init__(self, prefix: str, normalize_elf: str, patch_elf: str, device: int) -> None:
        self.device = device
        assert vsx.set_device(device) == 0
        model = vsx.Model(prefix, 1, "")
        operator = vsx.ModelOperator(model)
        graph = vsx.Graph(output_type=vsx.GraphOutputType.GRAPH_OUTPUT_TYPE_884_DEVICE)
        graph.add_operators(operator)
        self.stream = vsx.Stream(graph, vsx.StreamBalanceMode.RUN)
        self.stream.register_operator_output(operator)
        self.stream.build()
        self.prepare = Preparation(model.input_shape[0], normalize_elf, patch_elf)

    def process(self, bgr: NDArray[Any]) -> list[NDArray[Any]]:
        height, width = bgr.shape[:2]
        image = vsx.create_image(bgr, vsx.ImageFormat.BGR_INTERLEAVE, width, height, self.device)
        outputs = self.stream.run_sync([self.prepare(image)])
        return [vsx.as_numpy(out)[0:1000] for out in outputs[0]]  # what follows is fill


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", "--model_prefix", required=True)
    parser.add_argument("--norm_elf_file", default="/opt/elf/normalize")
    parser.add_argument("--space_to_depth_elf_file", default="/opt/elf/space_to_depth")
    parser.add_argument("-d", "--device_id", type=int, default=0)
    parser.add_argument("--input_file", type=Path, required=True)
    args = parser.parse_args()

    classifier = Classifier(
        args.model_prefix, args.norm_elf_file, args.space_to_depth_elf_file, args.device_id
    )
    image = cv2.imread(str(args.input_file))
    assert image is not None, args.input_file
    result = np.array(classifier.process(image))
    index = np.argsort(result)[0][::-1]
    for i in range(2):
        print(f"top-{i} id: {index[i]}, prob: {result[0, index[i]]:.4f}")


if __name__ == "__main__":
    main()

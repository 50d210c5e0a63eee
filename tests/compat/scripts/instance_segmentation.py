"""Find objects and their masks: the pattern of the published scripts for YOLOv8 and YOLO11.

The network gives classes, scores, boxes, coefficients and prototypes; an operator of the device
makes boxes and masks in the image of them.
"""

import argparse
import ctypes
from pathlib import Path

import cv2
import numpy as np
import vaststreamx as vsx


class Layout(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("height", "width", "h_pitch", "w_pitch")]

    def fill(self, height: int, width: int) -> None:
        self.height = self.h_pitch = height
        self.width = self.w_pitch = width


class MaskConfig(ctypes.Structure):
    _fields_ = [
        ("model_in_shape", Layout),
        ("model_out_shape", Layout),
        ("origin_image_shape", Layout),
        ("k", ctypes.c_uint32),
        ("retina_masks", ctypes.c_uint32),
        ("max_detect_num", ctypes.c_uint32),
    ]


class Segmenter:
    def __init__(
        self, prefix: str, vdsp_params: str, elf_file: str, device: int, retina_masks: bool
    ) -> None:
        self.device = device
        self.retina_masks = retina_masks
        assert vsx.set_device(device) == 0
        self.masks = vsx.CustomOperator(op_name="yolov8_seg_op", elf_file_path=elf_file)
        self.masks.set_callback_info([(1, 564, 500)] * 5, [(1, 564, 500)] * 6)
        self.model = vsx.Model(prefix, 1)
        operator = vsx.ModelOperator(self.model)
        graph = vsx.Graph(vsx.GraphOutputType.GRAPH_OUTPUT_TYPE_NCHW_HOST)
        graph.add_operators(*vsx.Operator.load_ops_from_json_file(vdsp_params), operator)
        self.stream = vsx.Stream(graph, vsx.StreamBalanceMode.RUN)
        self.stream.register_operator_output(operator)
        self.stream.build()

    def process(self, image: vsx.Image) -> list[vsx.Tensor]:
        outputs = self.stream.run_sync([image])[0]
        return self.to_masks([out.clone(self.device) for out in outputs], image.height, image.width)

    def to_masks(self, tensors: list[vsx.Tensor], height: int, width: int) -> list[vsx.Tensor]:
        in_height, in_width = self.model.input_shape[0][-2:]
        rows = tensors[0].shape[1]
        config = MaskConfig()
        config.model_in_shape.fill(in_height, in_width)
        config.model_out_shape.fill(*tensors[4].shape[-2:])
        config.origin_image_shape.fill(height, width)
        config.k = 32
        config.retina_masks = int(self.retina_masks)
        config.max_detect_num = rows
        size = [height, width] if self.retina_masks else [in_height, in_width]
        scratch = (rows + 3) * max(in_height * in_width, height * width)
        outputs: list[vsx.Tensor] = self.masks.run_sync(
            tensors=tensors,
            config=ctypes.string_at(ctypes.byref(config), ctypes.sizeof(config)),
            output_info=[
                ([rows], vsx.TypeFlag.FLOAT16),
                ([rows], vsx.TypeFlag.FLOAT16),
                ([rows, 4], vsx.TypeFlag.FLOAT16),
                ([rows, *size], vsx.TypeFlag.UINT8),
                ([2], vsx.TypeFlag.UINT32),
                ([scratch], vsx.TypeFlag.UINT8),
            ],
        )
        return outputs[:5]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", "--model_prefix", required=True)
    parser.add_argument("--vdsp_params", required=True)
    parser.add_argument("--elf_file", default="/opt/elf/yolov8_seg_post_proc")
    parser.add_argument("-d", "--device_id", type=int, default=0)
    parser.add_argument("--input_file", type=Path, required=True)
    parser.add_argument("--retina_masks", action="store_true")
    args = parser.parse_args()

    segmenter = Segmenter(
        args.model_prefix, args.vdsp_params, args.elf_file, args.device_id, args.retina_masks
    )
    bgr = cv2.imread(str(args.input_file))
    assert bgr is not None, args.input_file
    planes = np.stack(cv2.split(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))
    height, width = bgr.shape[:2]
    image = vsx.create_image(planes, vsx.ImageFormat.RGB_PLANAR, width, height, args.device_id)
    arrays = [vsx.as_numpy(out) for out in segmenter.process(image)]
    classes, scores, boxes, masks, numbers = arrays
    for i in range(numbers[0]):
        corners = " ".join(f"{corner:.1f}" for corner in boxes[i])
        print(
            f"class {int(classes[i])} score {scores[i]:.3f} box {corners} "
            f"mask {masks[i].shape} {masks[i].sum(dtype=int)}"
        )


if __name__ == "__main__":
    main()

"""Detect objects: the pattern of the published scripts for networks that end in NMS.

The network gives classes, scores and boxes (1, N, ·), with -1 in unused rows, in pixels of its
letterboxed input; the script takes them back to the image.
"""

import argparse
import json
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
import vaststreamx as vsx
from numpy.typing import NDArray

Array = NDArray[Any]
CONVERSIONS = {  # built at import
    (vsx.ImageFormat.YUV_NV12, vsx.ImageFormat.RGB_PLANAR): vsx.ColorCvtCode.YUV2RGB_NV12,
    (vsx.ImageFormat.BGR_INTERLEAVE, vsx.ImageFormat.RGB_PLANAR): (
        vsx.ColorCvtCode.BGR2RGB_INTERLEAVE2PLANAR
    ),
}


class Detector:
    def __init__(self, prefix: str, vdsp_params: str, batch: int, device: int) -> None:
        config = json.loads(Path(vdsp_params).read_text())["OpConfig"]
        self.size = config["OimageWidth"], config["OimageHeight"]
        self.device = device
        assert vsx.set_device(device) == 0
        self.model = vsx.ModelOperator(vsx.Model(prefix, batch))
        self.prepare = vsx.Operator.load_ops_from_json_file(vdsp_params)[0]
        graph = vsx.Graph(vsx.GraphOutputType.GRAPH_OUTPUT_TYPE_NCHW_HOST)
        graph.add_operators(self.prepare, self.model)
        self.stream = vsx.Stream(graph, vsx.StreamBalanceMode.ONCE)
        self.stream.register_operator_output(self.model)
        self.stream.build()
        self.events: list[Event] = []
        self.found: list[list[str]] = []
        self.sizes: list[tuple[int, int]] = []
        self.consumer = Thread(target=self.consume)
        self.consumer.start()

    def format(self) -> vsx.ImageFormat:
        assert self.prepare.op_type >= 100
        operator = self.prepare.cast_to_buildin_operator()
        assert "IIMAGE_FORMAT" in list(operator.attributes.keys())
        return {0: vsx.ImageFormat.YUV_NV12, 5000: vsx.ImageFormat.RGB_PLANAR}[
            operator.get_attribute(vsx.AttrKey.IIMAGE_FORMAT)
        ]

    def consume(self) -> None:
        while True:
            try:
                result = self.stream.get_operator_output(self.model)
            except ValueError as end:
                print(end)
                return
            number = len(self.found)
            arrays = [vsx.as_numpy(out)[0].astype(np.float32) for out in result[0]]
            self.found.append(self.boxes(arrays, *self.sizes[number]))
            self.events[number].set()

    def boxes(self, outputs: list[Array], width: int, height: int) -> list[str]:
        classes, scores, boxes = outputs
        ratio = min(self.size[0] / width, self.size[1] / height)
        left = (self.size[0] - round(width * ratio)) / 2
        top = (self.size[1] - round(height * ratio)) / 2
        lines = []
        for row in range(len(classes)):
            if classes[row, 0] < 0:
                break
            corners = (boxes[row] - np.array([left, top, left, top])) / ratio
            texts = " ".join(f"{corner:.1f}" for corner in corners)
            lines.append(f"class {int(classes[row, 0])} score {scores[row, 0]:.3f} box {texts}")
        return lines

    def submit(self, path: Path) -> None:
        bgr = cv2.imread(str(path))
        assert bgr is not None, path
        height, width = bgr.shape[:2]
        self.events.append(Event())
        self.sizes.append((width, height))
        image = vsx.create_image(bgr, vsx.ImageFormat.BGR_INTERLEAVE, width, height, self.device)
        self.stream.run_async([vsx.cvtcolor(image, self.format())])

    def finish(self) -> None:
        self.stream.close_input()
        self.stream.wait_until_done()
        self.consumer.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file_path", type=Path, required=True)
    parser.add_argument("--model_prefix_path", required=True)
    parser.add_argument("--vdsp_params_info", required=True)
    parser.add_argument("--device_id", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()

    detector = Detector(args.model_prefix_path, args.vdsp_params_info, args.batch, args.device_id)
    files = sorted(args.file_path.iterdir())
    for path in files:
        detector.submit(path)
    for number, path in enumerate(files):
        detector.events[number].wait()
        for line in detector.found[number]:
            print(path.name, line)
    detector.finish()


if __name__ == "__main__":
    main()

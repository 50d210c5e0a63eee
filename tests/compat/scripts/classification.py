"""Classify images: the pattern of the published scripts, synchronous or asynchronous.

`--infer_mode sync` runs while the consumer waits in `get_operator_output`. Images of odd size are
shrunk to even ones first, as the published scripts do.
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


class Classifier:
    def __init__(self, prefix: str, vdsp_params: str, batch: int, device: int) -> None:
        self.width = json.loads(Path(vdsp_params).read_text())["OpConfig"]["OimageWidth"]
        self.device = device
        self.attr = vsx.AttrKey
        assert vsx.set_device(device) == 0
        self.model = vsx.ModelOperator(vsx.Model(prefix, batch, ""))
        operators = vsx.Operator.load_ops_from_json_file(vdsp_params)
        graph = vsx.Graph(False)
        graph.add_operators(*operators, self.model)
        self.stream = vsx.Stream(graph, vsx.StreamBalanceMode.RUN)
        self.stream.register_operator_output("classes", self.model)
        self.stream.build()
        self.events: list[Event] = []
        self.scores: dict[int, Array] = {}
        self.consumer = Thread(target=self.consume)
        self.consumer.start()

    def consume(self) -> None:
        while True:
            try:
                result = self.stream.get_operator_output("classes")
            except ValueError as end:
                print(end)
                return
            number = len(self.scores)
            self.scores[number] = vsx.as_numpy(result[0][0])[0].astype(np.float32)
            self.events[number].set()

    def image(self, path: Path) -> vsx.Image:
        bgr = cv2.imread(str(path))
        assert bgr is not None, path
        height, width = (side - side % 2 for side in bgr.shape[:2])
        if bgr.shape[:2] != (height, width):
            bgr = cv2.resize(bgr, (width, height))
        form = vsx.ImageFormat.BGR_INTERLEAVE
        return vsx.create_image(bgr, form, width, height, self.device)

    def sync(self, path: Path) -> Array:
        outputs = self.stream.run_sync([self.image(path)])[0]
        scores: Array = vsx.as_numpy(outputs[0])[0].astype(np.float32)
        return scores

    def submit(self, path: Path) -> int:
        self.events.append(Event())
        self.stream.run_async([self.image(path)])
        return len(self.events) - 1

    def wait(self, number: int) -> Array:
        self.events[number].wait()
        return self.scores[number]

    def finish(self) -> None:
        self.stream.close_input()
        self.stream.wait_until_done()
        self.consumer.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image_dir", type=Path, required=True)
    parser.add_argument("--model_prefix_path", required=True)
    parser.add_argument("--vdsp_params_info", required=True)
    parser.add_argument("--device_id", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--infer_mode", choices=["sync", "async"], default="async")
    parser.add_argument("--label_txt", type=Path, required=True)
    args = parser.parse_args()

    labels = args.label_txt.read_text().split()
    classifier = Classifier(
        args.model_prefix_path, args.vdsp_params_info, args.batch, args.device_id
    )
    files = sorted(args.image_dir.iterdir())
    if args.infer_mode == "sync":
        scores = [classifier.sync(path) for path in files]
    else:
        numbers = [classifier.submit(path) for path in files]
        scores = [classifier.wait(number) for number in numbers]
    for path, score in zip(files, scores, strict=True):
        best = score.argsort()[::-1]
        print(f"{path.name} => top1: {labels[best[0]]} {score[best[0]]:.4f}")
    classifier.finish()


if __name__ == "__main__":
    main()

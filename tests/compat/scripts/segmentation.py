"""Segment portraits: the pattern of the published scripts, with metric M6.

Results are read by a thread that the constructor starts and that is no daemon; it pairs results
with images by counting, and leaves by the ValueError at the end.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
import vaststreamx as vsx
from numpy.typing import NDArray

Array = NDArray[Any]


class Segmenter:
    def __init__(self, prefix: str, vdsp_params: str, batch: int, device: int) -> None:
        config = json.loads(Path(vdsp_params).read_text())["OpConfig"]
        self.size = config["OimageWidth"], config["OimageHeight"]
        self.device = device
        assert vsx.set_device(device) == 0
        model = vsx.Model(prefix, batch)
        _, channels, height, width = model.input_shape[0]
        assert (width, height) == self.size
        self.model = vsx.ModelOperator(model)
        prepare = vsx.Operator.load_ops_from_json_file(vdsp_params)[0]
        graph = vsx.Graph()
        graph.add_operators(prepare, self.model)
        self.stream = vsx.Stream(graph, vsx.StreamBalanceMode.ONCE)
        self.stream.register_operator_output(self.model)
        self.stream.register_operator_output(
            "preprocess_res", prepare, [[(channels, height, width), vsx.TypeFlag.FLOAT16]]
        )
        self.stream.build()
        self.submitted = 0
        self.sizes: dict[int, tuple[int, int]] = {}
        self.finished: dict[int, Event] = {}
        self.logits: dict[int, Array] = {}
        self.consumer = Thread(target=self.consume)
        self.consumer.start()

    def consume(self) -> None:
        number = 0
        while True:
            try:
                result = self.stream.get_operator_output(self.model)
                if result is not None:
                    self.stream.get_operator_output("preprocess_res")
                    self.sizes.pop(number)
                    outputs = [vsx.as_numpy(out)[0].astype(np.float32) for out in result[0]]
                    self.logits[number] = outputs[0]
                    self.finished[number].set()
                    number += 1
            except ValueError as end:
                print(end)
                break

    def image(self, rgb: Array) -> vsx.Image:
        height, width = rgb.shape[:2]
        planes = np.stack(cv2.split(rgb))
        return vsx.create_image(planes, vsx.ImageFormat.RGB_PLANAR, width, height, self.device)

    def submit(self, rgb: Array) -> int:
        number = self.submitted
        self.submitted += 1
        self.sizes[number] = rgb.shape[:2]
        self.finished[number] = Event()
        self.stream.run_async([self.image(rgb)])
        return number

    def run_sync(self, rgb: Array) -> Array:
        outputs = self.stream.run_sync([self.image(rgb)])[0]
        logits: Array = vsx.as_numpy(outputs[0])[0].astype(np.float32)
        return logits

    def run_batch(self, images: Iterable[Array]) -> Iterator[Array]:
        numbers: Queue[int | None] = Queue(20)

        def produce() -> None:
            for rgb in images:
                numbers.put(self.submit(rgb))
            numbers.put(None)

        producer = Thread(target=produce)
        producer.start()
        while (number := numbers.get()) is not None:
            self.finished[number].wait()
            yield self.logits.pop(number)
        producer.join()

    def finish(self) -> None:
        self.stream.close_input()
        self.stream.wait_until_done()
        self.consumer.join()


def read(path: Path) -> Array:
    bgr = cv2.imread(str(path))
    assert bgr is not None, path
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def mask_of(folder: Path, stem: str, size: tuple[int, int]) -> Array:
    """Foreground of a portrait's mask at the network's size."""
    matte = folder / f"{stem}_matte.png"
    path = matte if matte.exists() else next(folder.glob(f"{stem}.*"))
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert gray is not None, path
    return cv2.resize(gray, size) >= 125


def foreground_iou(logits: Array, truth: Array) -> float | None:
    predicted = logits[0] > 0
    union = np.count_nonzero(predicted | truth)
    return np.count_nonzero(predicted & truth) / union if union else None


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file_path", help="image, or folder of images")
    parser.add_argument("--image_dir", help="folder of images")
    parser.add_argument("--model_prefix_path", required=True)
    parser.add_argument("--vdsp_params_info", required=True)
    parser.add_argument("--device_id", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--mask_dir", type=Path)
    parser.add_argument("--save_dir", type=Path, default=Path("infer_output"))
    return parser.parse_args()


def main() -> None:
    args = options()
    given = Path(args.file_path or args.image_dir)
    files = sorted(given.iterdir()) if given.is_dir() else [given]
    args.save_dir.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(args.model_prefix_path, args.vdsp_params_info, args.batch, args.device_id)
    ious = []
    for path, logits in zip(files, segmenter.run_batch(map(read, files)), strict=True):
        mask = (logits[0] > 0).astype(np.uint8) * 255
        cv2.imwrite(str(args.save_dir / f"{path.stem}.png"), mask)
        if args.mask_dir:
            iou = foreground_iou(logits, mask_of(args.mask_dir, path.stem, segmenter.size))
            print(f"{path.name}, --> iou: {iou}")
            ious += [iou] if iou is not None else []
    alone = segmenter.run_sync(read(files[-1]))
    np.testing.assert_array_equal(alone, logits)
    segmenter.finish()
    if ious:
        print(f"mean iou: {np.mean(ious):.9f}")


if __name__ == "__main__":
    main()

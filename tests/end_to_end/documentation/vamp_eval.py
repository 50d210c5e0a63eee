"""Mean foreground IoU of what `vamp` wrote: the part that a user of the documentation brings.

Options and rules are those of the public evaluation scripts for portraits (metric M6): the label is
shrunk to the network's size, foreground is 125 and above; the prediction is foreground where the
logit exceeds 0; line i of the list belongs to the i-th output in order of names.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--src_dir", type=Path)
    parser.add_argument("--gt_dir", type=Path, required=True)
    parser.add_argument("--input_npz_path", type=Path, required=True, help="the datalist")
    parser.add_argument("--out_npz_dir", type=Path, required=True)
    parser.add_argument("--input_shape", nargs=2, type=int, required=True)
    parser.add_argument("--draw_dir", type=Path, default=Path("npz_draw_result"))
    parser.add_argument("--vamp_flag", action="store_true", default=True)
    args = parser.parse_args()

    inputs = [Path(line) for line in args.input_npz_path.read_text().splitlines()]
    outputs = sorted(args.out_npz_dir.glob("*.npz"))
    args.draw_dir.mkdir(exist_ok=True)
    ious = []
    for given, found in zip(inputs, outputs, strict=True):
        logits = np.load(found, allow_pickle=True)["output_0"].astype(np.float32)
        predicted = np.squeeze(logits) > 0
        (label,) = args.gt_dir.glob(f"{given.stem}.*")
        grey = cv2.imread(str(label), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        truth = cv2.resize(grey, tuple(args.input_shape)) >= 125
        cv2.imwrite(str(args.draw_dir / f"{given.stem}.png"), predicted.astype(np.uint8) * 255)
        union = np.count_nonzero(predicted | truth)
        if union:
            ious.append(np.count_nonzero(predicted & truth) / union)
    print(f"mean iou: {np.mean(ious):.9f}")


if __name__ == "__main__":
    main()

"""Draw docs/images/official_unet3p.png: evaluation images, masks of the int8 bundle, overlays.

compile build_configs/official_unet3p.yaml
python docs/images/official_unet3p.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from compiler import Runner
from compiler.runner.masks import class_mask
from compiler.runner.results import overlay, palette

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "build_configs/official_unet3p/eval/images"
SHOWN = (2, 5, 11, 17, 23, 29)


def main() -> None:
    """Write the picture beside this script."""
    files = sorted(IMAGES.iterdir())
    columns = []
    with Runner("deploy_weights/official_unet3p_int8/mod") as runner:
        rule = runner.manifest.postprocessing
        if rule is None:
            raise SystemExit("the bundle has no mask")
        for index in SHOWN:
            pixels = np.asarray(Image.open(files[index]).convert("RGB"))
            mask = class_mask(runner.run(files[index])["output"], rule)
            columns.append(np.vstack([pixels, palette()[mask], overlay(pixels, mask)]))
    Image.fromarray(np.hstack(columns)).save(HERE / "official_unet3p.png", optimize=True)


if __name__ == "__main__":
    main()

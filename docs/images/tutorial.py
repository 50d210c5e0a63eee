"""Draw the pictures of docs/tutorials/from_clone_to_report.md: sections of pages that modc writes.

compile build_configs/official_unet3p.yaml
modc calib inspect build_configs/official_unet3p.yaml --html calibration.html
python docs/images/tutorial.py
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

HERE = Path(__file__).parent
REPORT = Path("deploy_weights/official_unet3p_int8/mod.report.html")
CALIBRATION = Path("calibration.html")
SECTIONS = (  # page, its section, picture, most lines of pixels
    (CALIBRATION, "sheet", "tutorial_calibration.png", 420),
    (REPORT, "summary", "tutorial_summary.png", 600),
    (REPORT, "layers", "tutorial_layers.png", 480),
    (REPORT, "pictures", "tutorial_pictures.png", 470),
)
WIDTH = 1160
COLOURS = 128


def main() -> None:
    """Write the pictures beside this script."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("needs chromium")
    for page, section, name, height in SECTIONS:
        picture = cut(show(browser, page, section), height)
        picture.quantize(COLOURS).save(HERE / name, optimize=True)


def show(browser: str, page: Path, section: str) -> Image.Image:
    """The page with this section alone."""
    alone = f"body > *:not(main), main > *:not(#{section}) {{ display: none !important }}"
    with tempfile.TemporaryDirectory() as folder:
        copy, screen = Path(folder, "page.html"), Path(folder, "screen.png")
        text = page.read_text("utf-8").replace("</head>", f"<style>{alone}</style></head>", 1)
        copy.write_text(text, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--window-size={WIDTH},2000", f"--screenshot={screen}", copy.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        return Image.open(screen).convert("RGB")


def cut(screen: Image.Image, height: int) -> Image.Image:
    """What is not background, and at most so high."""
    background = Image.new("RGB", screen.size, screen.getpixel((0, 0)))
    left, top, right, bottom = ImageChops.difference(screen, background).getbbox() or (0, 0, 1, 1)
    return screen.crop((left, top, right, min(bottom, top + height)))


if __name__ == "__main__":
    main()

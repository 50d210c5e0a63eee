"""What a page shows of a bundle: the facts in its files, and pictures that only builds can make."""

from dataclasses import dataclass

from compiler.runner.manifest import JsonObject


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A calibration image, small.

    Args:
        name: Of the file.
        jpeg: The picture.
        width: In pixels.
        height: In pixels.
    """

    name: str
    jpeg: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sample through the original and the compiled network; all pictures are PNG.

    Args:
        name: Of the file.
        image: The image as the network sees it.
        fp32: What the original network makes of it.
        compiled: What the compiled one does.
        difference: Where the two differ.
        note: How far they do, in words.
    """

    name: str
    image: bytes
    fp32: bytes
    compiled: bytes
    difference: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that a page shows of one bundle.

    Args:
        manifest: Contents of `mod.json`.
        report: Contents of `mod.report.json`.
        run: Contents of `mod.build.json`.
        thumbnails: Calibration images; empty where the page is made after the build.
        comparisons: Samples; likewise.
    """

    manifest: JsonObject
    report: JsonObject
    run: JsonObject
    thumbnails: tuple[Thumbnail, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

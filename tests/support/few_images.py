"""A few of many images, for tests that need not see them all."""

from pathlib import Path


def link_images(source: Path, folder: Path, count: int) -> Path:
    """A new folder with links to some images of another, evenly over it."""
    folder.mkdir()
    found = sorted(path for path in source.iterdir() if path.is_file())
    for path in found[:: max(1, len(found) // count)][:count]:
        (folder / path.name).symlink_to(path)
    return folder

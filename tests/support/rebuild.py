"""Rebuild a bundle again and again, to be killed: `rebuild.py WORKSPACE COUNT [renames]`."""

import random
import sys
from dataclasses import replace
from pathlib import Path

from compiler.bundle import swap
from compiler.bundle.write import new_bundle
from compiler.runner.manifest import Manifest


def main(workspace: Path, count: int) -> None:
    """Each build has its own random contents and stamps them into every file."""
    manifest = Manifest("net", inputs=(), outputs=(), build="name: net\n")
    for _ in range(count):
        stamp = f"{random.random()}"
        with new_bundle(workspace, "net", build_file="net.yaml", model="net.onnx") as bundle:
            (bundle.folder / "mod.onnx").write_text(stamp)
            (bundle.folder / "mod.params").write_text(stamp * 20_000)
            bundle.commit(replace(manifest, verification={"stamp": stamp}))
        sys.stdout.write("built\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if "renames" in sys.argv:
        swap._exchange = lambda one, other: False
    main(Path(sys.argv[1]), int(sys.argv[2]))

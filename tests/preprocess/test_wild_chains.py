"""Every distinct process_ops list of the public cv build files, on an image of 600×804."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.preprocess.chain import Chain

FILES = Path(__file__).resolve().parents[2].parent / "shared/compat/wild_yaml_shapes.json"
PADDED = {"official_nanodet", "official_fairmot"}
STRETCHED = {"official_pfld", "official_hrnet_face"}

pytestmark = pytest.mark.skipif(not FILES.is_file(), reason="needs the shared collection of files")


def wild_chains() -> list[tuple[str, list[dict[str, Any]], list[int]]]:
    """Path, ops and input shape of the files that give one image input's shape."""
    chains = []
    for entry in json.loads(FILES.read_text()):
        document = entry.get("yaml") or {}
        dataset = document.get("dataset") or {}
        ops = dataset.get("process_ops") or dataset.get("transform_ops")
        source = document.get("frontend") or document.get("model") or {}
        shapes = source.get("shape") or source.get("inputs") or {}
        if ops and shapes:
            chains.append((entry["path"], ops, next(iter(shapes.values()))))
    return chains


def test_all_public_chains_give_the_declared_shape_and_four_only_by_the_guard() -> None:
    image = np.random.default_rng(0).integers(0, 256, (600, 804, 3), np.uint8)
    guards: dict[str, str] = {}
    outcome: Counter[str] = Counter()
    for path, ops, shape in wild_chains():
        if ops[0]["type"] == "CustomFunc":
            outcome["custom"] += 1
            continue
        nested = shape if isinstance(shape[0], int) else shape[-1]
        chain = Chain.from_list(ops, (nested[1], nested[2], nested[3]))
        assert chain(image).shape == (1, *nested[1:]), path
        kinds = [kind for kind in ("padded", "stretched") for t in chain.warnings() if kind in t]
        outcome["".join(kinds) or "exact"] += 1
        guards.update({path: kind for kind in kinds})
    assert outcome == {}
    assert guards == {}

"""Every distinct list of process ops in the public build files, on an image of 600×804."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.preprocess.chain import Chain
from compiler.preprocess.checks import Shape

FILES = Path(__file__).resolve().parents[2].parent / "shared/compat/wild_yaml_shapes.json"
GUARDED = {
    "cv/detection/nanodet/build_in/build/official_nanodet.yaml": "padded",
    "cv/mot/fairmot/build_in/build/official_fairmot.yaml": "padded",
    "cv/face_alignment/pfld/build_in/build/official_pfld.yaml": "stretched",
    "cv/face_alignment/hrnet_face_alignment/build_in/build/official_hrnet.yaml": "stretched",
}
KNOWN = {
    "cv/classification/resnet/build_in/build/keras_resnet.yaml": "looks BGR-ordered",
    "cv/classification/xception/build_in/build/keras_xception.yaml": "looks BGR-ordered",
    "cv/detection/nanodet/build_in/build/official_nanodet.yaml": "no Pad follows",
    "cv/mot/fairmot/build_in/build/official_fairmot.yaml": "no Pad follows",
    # Its authors added div255: false the next day.
    "inference/classification/resnet/build_config/mmcls_resnet.yaml": "in the 0–255 scale",
}

pytestmark = pytest.mark.skipif(not FILES.is_file(), reason="needs the shared collection of files")


def wild_chains() -> dict[str, tuple[list[dict[str, Any]], Shape]]:
    """Ops and largest declared input of every file that has both; no custom functions."""
    chains = {}
    for entry in json.loads(FILES.read_text(encoding="utf-8")):
        document = entry.get("yaml") or {}
        dataset = document.get("dataset") or {}
        ops = dataset.get("process_ops") or dataset.get("transform_ops")
        source = document.get("frontend") or document.get("model") or {}
        declared = source.get("shape") or source.get("inputs")
        if ops and declared and ops[0]["type"] != "CustomFunc":
            shape = next(iter(declared.values()))
            _, *size = shape[-1] if isinstance(shape[0], list) else shape
            chains[entry["path"]] = (ops, (size[0], size[1], size[2]))
    return chains


def test_every_chain_gives_the_declared_shape_and_four_only_by_the_guard() -> None:
    image = np.random.default_rng(0).integers(0, 256, (600, 804, 3), np.uint8)
    outcomes: Counter[str] = Counter()
    for path, (ops, shape) in wild_chains().items():
        chain = Chain.from_list(ops, shape)
        assert chain(image).shape == (1, *shape), path
        outcome = GUARDED.get(path, "as declared")
        bare = Chain.from_list(ops)(image).shape
        assert (bare == (1, *shape)) == (outcome == "as declared"), path
        guards = [text for text in chain.warnings() if "images are" in text]
        assert [outcome in text for text in guards] == [True] * (path in GUARDED), path
        outcomes[outcome] += 1
    assert outcomes == {"as declared": 151, "padded": 2, "stretched": 2}


def test_every_chain_survives_storage() -> None:
    for path, (ops, shape) in wild_chains().items():
        chain = Chain.from_list(ops, shape)
        stored = json.loads(json.dumps(chain.to_list()))
        assert Chain.from_list(stored, shape).ops == chain.ops, path


def test_only_the_known_contradictions_are_warned_of() -> None:
    for path, (ops, shape) in wild_chains().items():
        texts = Chain.from_list(ops, shape).warnings()
        assert [KNOWN.get(path, "nothing") in text for text in texts] == [True] * (path in KNOWN)
    assert wild_chains().keys() >= KNOWN.keys()

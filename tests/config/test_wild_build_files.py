"""Real build files, reduced to mappings: each loads, or is refused for a documented reason."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from compiler.config.dialects import migrate
from compiler.config.dump import dump_config
from compiler.config.load import BuildFile, read_build_file
from compiler.errors import BuildFileError

WILD = Path(__file__).resolve().parents[2].parent / "shared" / "compat" / "wild_yaml_shapes.json"
REFUSED = {  # wild_yaml_shapes.json names one file that is meant to fail
    "segmentation/modnet/vacc_code/build/config.yaml": "fp16int8 of older build files",
}
OF_DIALECT = {"frontend": "D3", "frontend+work_dir": "D3w", "engine-v1": "D1", "engine-v2": "D2"}

pytestmark = pytest.mark.skipif(not WILD.exists(), reason=f"{WILD} is absent")


def test_every_public_build_file_loads_or_is_refused_for_a_known_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = json.loads(WILD.read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    for entry in entries:
        if "yaml" not in entry:  # its text is a golden file: list_item_indentation.yaml
            counts["not YAML"] += 1
            continue
        path = tmp_path / f"{len(counts)}.yaml"
        path.write_text(yaml.safe_dump(entry["yaml"], sort_keys=False), encoding="utf-8")
        reason = REFUSED.get(entry["path"])
        if reason:
            with pytest.raises(BuildFileError, match=reason):
                read_build_file(path)
            counts["refused"] += 1
            continue
        file = read_build_file(path)
        assert file.dialect == OF_DIALECT[entry["dialect"]], entry["path"]
        _check_written_forms(file, tmp_path)
        counts[file.dialect] += 1
        counts["with warnings"] += any(note.kind == "warning" for note in file.notes)
    with capsys.disabled():
        sys.stdout.write(f"\n{len(entries)} public build files: {dict(counts)}\n")
    loaded = sum(counts[dialect] for dialect in OF_DIALECT.values())
    assert loaded + counts["refused"] + counts["not YAML"] == len(entries)
    assert (loaded, counts["refused"], counts["not YAML"]) == (183, 1, 1)


def _check_written_forms(file: BuildFile, folder: Path) -> None:
    """The effective configuration and the migrated file load with an equal configuration."""
    again = folder / f"{file.path.stem}.yaml"
    for text in (dump_config(file.config), migrate(file.path)):
        again.write_text(text, encoding="utf-8")
        assert read_build_file(again).config == file.config


@pytest.mark.parametrize(
    ("path", "warning"),
    [
        ("cv/detection/nanodet/build_in/build/official_nanodet.yaml", "no Pad follows"),
        ("cv/mot/fairmot/build_in/build/official_fairmot.yaml", "no Pad follows"),
        ("cv/classification/resnet/build_in/build/keras_resnet.yaml", "looks BGR-ordered"),
        ("cv/classification/xception/build_in/build/keras_xception.yaml", "looks BGR-ordered"),
        ("cv/detection/yolof/build_in/build/mmdet_yolof.yaml", "says int8, backend.dtype says"),
        ("cv/text_detection/dbnet/build_in/build/ppocr_v4_cls.yaml", "says fp16, backend.dtype"),
        ("cv/detection/yolov6/build_in/build/official_yolov6.yaml", "extra_ops.extra_ops"),
        ("classification/senet/vacc_code/build/timm_senet.yaml", "belongs in engine.type"),
    ],
)
def test_a_known_contradiction_is_warned_of(tmp_path: Path, path: str, warning: str) -> None:
    entries = json.loads(WILD.read_text(encoding="utf-8"))
    [entry] = [entry for entry in entries if entry["path"] == path]
    file = tmp_path / "build.yaml"
    file.write_text(yaml.safe_dump(entry["yaml"], sort_keys=False), encoding="utf-8")
    notes = read_build_file(file).notes
    assert any(note.kind == "warning" and warning in note.text for note in notes)
    with pytest.raises(BuildFileError, match=warning):
        read_build_file(file, strict=True)

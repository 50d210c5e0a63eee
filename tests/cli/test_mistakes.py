"""Every plausible mistake ends in one clear error, the right exit code, and nothing written."""

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import onnx
import pytest

from compiler.cli.app import main
from tests.support.project import Project, make_project, two_convolutions

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(f'*{chr(ord(name) - 1)}' for _ in range(9))}]\n"
    for name in "bcdefghij"
)


def _quantise(p: Project) -> None:
    p.document["backend"]["quantise"] = p.document["backend"].pop("quantize")


def _no_checkpoint(p: Project) -> None:
    del p.document["frontend"]["checkpoint"]


def _text_for_number(p: Project) -> None:
    p.document["dataset"]["sampler"]["get_data_num"] = "fifty"


def _int4(p: Project) -> None:
    p.document["backend"]["dtype"] = "int4"


def _entropy(p: Project) -> None:
    p.document["backend"]["quantize"]["calibrate_mode"] = "entropyy"


def _unknown_op(p: Project) -> None:
    p.document["dataset"]["process_ops"][1]["type"] = "Rezise"


def _unknown_field(p: Project) -> None:
    p.document["dataset"]["process_ops"][1]["interpolate"] = "bicubic"


def _wrong_input(p: Project) -> None:
    p.document["frontend"]["shape"] = {"inptu": [1, 3, 16, 16]}


def _wrong_shape(p: Project) -> None:
    p.document["frontend"]["shape"] = {"input": [1, 4, 16, 16]}


def _placeholder(p: Project) -> None:
    p.document["frontend"]["checkpoint"] = "/path/to/net.onnx"


def _corrupt_onnx(p: Project) -> None:
    (p.folder / "net.onnx").write_bytes(b"\x08\x07garbage" * 40)


def _truncated_onnx(p: Project) -> None:
    whole = (p.folder / "net.onnx").read_bytes()
    (p.folder / "net.onnx").write_bytes(whole[: len(whole) // 2])


def _climbing_external_data(p: Project) -> None:
    model = two_convolutions()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (p.folder / "net.onnx").write_bytes(model.SerializeToString())


def _no_dataset_folder(p: Project) -> None:
    p.document["dataset"]["path"] = "nowhere"


def _no_match(p: Project) -> None:
    p.document["dataset"]["sampler"]["suffix"] = "jpg"


def _corrupt_image(p: Project) -> None:
    for image in (p.folder / "calib").iterdir():
        image.write_bytes(image.read_bytes()[:200])


def _decompression_bomb(p: Project) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    header = pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    for image in (p.folder / "calib").iterdir():
        image.write_bytes(bomb + chunk(b"IEND", b""))


def _no_dataset(p: Project) -> None:
    del p.document["dataset"]


def _pytorch(p: Project) -> None:
    p.document["frontend"] |= {"type": "pytorch", "checkpoint": "net.pt"}


def _workspace_is_a_file(p: Project) -> None:
    (p.folder / "deploy").write_text("in the way")


def _wrong_size(p: Project) -> None:
    p.document["dataset"]["process_ops"][1]["size"] = [8, 8]


def _one_channel(p: Project) -> None:
    p.document["dataset"]["process_ops"][0]["cv2_flags"] = 0


def _gate(p: Project) -> None:
    p.document["verify"] = {"min_sqnr_db": 150}


def _slash_in_name(p: Project) -> None:
    p.document["name"] = "../escape"


def _short_std(p: Project) -> None:
    p.document["dataset"]["process_ops"][2] = {"type": "Normalize", "mean": [0, 0], "std": [1, 1]}


def _no_shape_for_a_dynamic_input(p: Project) -> None:
    model = two_convolutions()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, p.folder / "net.onnx")
    p.document["frontend"]["shape"] = {}


MISTAKES: list[tuple[Callable[[Project], None], int, str]] = [
    (_quantise, 2, "did you mean 'quantize'"),
    (_no_checkpoint, 2, "frontend.checkpoint"),
    (_text_for_number, 2, "fifty"),
    (_int4, 2, "int4"),
    (_entropy, 2, "entropyy"),
    (_unknown_op, 2, "did you mean 'Resize'"),
    (_unknown_field, 2, "did you mean 'interpolation'"),
    (_slash_in_name, 2, "../escape"),
    (_no_dataset, 2, "dataset"),
    (_pytorch, 3, "torch.onnx.export"),
    (_placeholder, 2, "placeholder"),
    (_no_shape_for_a_dynamic_input, 3, "input"),
    (_wrong_input, 3, "'input'"),
    (_wrong_shape, 3, "4"),
    (_corrupt_onnx, 3, "net.onnx"),
    (_truncated_onnx, 3, "net.onnx"),
    (_climbing_external_data, 3, "../../etc/passwd"),
    (_no_dataset_folder, 4, "nowhere"),
    (_no_match, 4, "png"),
    (_corrupt_image, 4, "image_"),
    (_decompression_bomb, 4, "decompression bomb"),
    (_wrong_size, 4, "8"),
    (_one_channel, 4, "channel"),
    (_short_std, 4, "2"),
    (_gate, 5, "150"),
    (_workspace_is_a_file, 6, "deploy"),
]


@pytest.mark.parametrize(
    ("break_it", "code", "fragment"), MISTAKES, ids=[m[0].__name__[1:] for m in MISTAKES]
)
def test_a_mistake_gives_one_clear_error(
    break_it: Callable[[Project], None],
    code: int,
    fragment: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = make_project(tmp_path / "project")
    break_it(project)
    assert _modc("compile", str(project.write()), "--quiet") == code
    error = capsys.readouterr().err
    assert fragment in error
    assert error.startswith("modc: ")
    assert "fix: " in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("**/mod*"))


TEXTS = {
    "yaml_bomb": (BOMB, "alias"),
    "empty_file": ("", "empty"),
    "bad_indentation": ("name: x\n  frontend: {\n", "line"),
    "duplicate_key": ("name: a\nname: b\n", "name"),
    "a_list": ("- name: a\n", "mapping"),
    "tag": ("name: !boom x\n", "quote"),
}


@pytest.mark.parametrize("which", TEXTS)
def test_a_broken_text_gives_one_clear_error(
    which: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, fragment = TEXTS[which]
    project = make_project(tmp_path / "project")
    assert _modc("compile", str(project.write(text)), "--quiet") == 2
    error = capsys.readouterr().err
    assert fragment in error
    assert "build.yaml" in error
    assert "Traceback" not in error


def test_a_missing_build_file_offers_the_closest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path / "project").write()
    assert _modc("compile", str(tmp_path / "project" / "biuld.yaml")) == 2
    assert "build.yaml" in capsys.readouterr().err


def test_an_unknown_override_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_file = make_project(tmp_path / "project").write()
    assert _modc("compile", str(build_file), "--set", "backend.dtyp=fp16") == 2
    assert "did you mean 'dtype'" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    build_file = make_project(tmp_path / "project").write()
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from compiler.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "compile", str(build_file), "--quiet"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith("modc: ")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "project" / "deploy").glob("*/mod*"))


def test_running_an_absent_bundle_lists_those_that_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path / "project")
    assert _modc("compile", str(project.write()), "--quiet") == 0
    wrong = tmp_path / "project" / "deploy" / "net_fp16" / "mod"
    image = tmp_path / "project" / "calib" / "image_0.png"
    assert _modc("run", "-m", str(wrong), str(image), "-o", str(tmp_path / "out")) == 6
    assert "net_int8" in capsys.readouterr().err


def test_an_edited_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path / "project")
    assert _modc("compile", str(project.write()), "--quiet") == 0
    bundle = tmp_path / "project" / "deploy" / "net_int8"
    with (bundle / "mod.onnx").open("ab") as file:
        file.write(b"\0")
    assert _modc("verify", str(bundle / "mod")) == 6
    assert "mod.onnx" in capsys.readouterr().err


def test_an_absent_provider_lists_those_present(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path / "project")
    assert _modc("compile", str(project.write()), "--quiet") == 0
    prefix = str(tmp_path / "project" / "deploy" / "net_int8" / "mod")
    image = str(tmp_path / "project" / "calib" / "image_0.png")
    out = str(tmp_path / "out")
    assert _modc("run", "-m", prefix, image, "-o", out, "--provider", "CoreML") == 7
    assert "CPUExecutionProvider" in capsys.readouterr().err


def _modc(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


def test_what_the_system_refuses_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(SystemExit) as end:
        main(["run", "-m", "net", str(tmp_path / "a.png"), "-o", str(tmp_path / "out")])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"modc: {tmp_path / 'a.png'}: the system refuses: Permission denied")
    assert "fix: " in error

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from compiler.errors import BuildFileError, MissingRequirementError
from compiler.runner.load import Runner
from compiler.runner.parse_provider import parse_provider
from tests.support.bundles import make_bundle


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUDA", "CUDA"),
        ("CUDAExecutionProvider", "CUDAExecutionProvider"),
        ("CUDA:device_id=1", ("CUDA", {"device_id": "1"})),
        (
            "CUDA:device_id=1,arena_extend_strategy=kSameAsRequested",
            ("CUDA", {"device_id": "1", "arena_extend_strategy": "kSameAsRequested"}),
        ),
        (
            "Tensorrt:trt_engine_cache_path=C:/a=b",
            ("Tensorrt", {"trt_engine_cache_path": "C:/a=b"}),
        ),
        (" CUDA : device_id = 1 ", ("CUDA", {"device_id": "1"})),
        ("X:flag=", ("X", {"flag": ""})),
    ],
)
def test_a_provider_is_a_name_with_options(text: str, expected: object) -> None:
    assert parse_provider(text) == expected


@pytest.mark.parametrize("text", ["", ":", "CUDA:", "CUDA:device", ":a=1", "CUDA:=1", "X:a=1,a=2"])
def test_other_text_is_a_usage_error(text: str) -> None:
    with pytest.raises(BuildFileError, match="names no execution provider") as caught:
        parse_provider(text)
    assert caught.value.exit_code == 2
    assert "CUDA:device_id=1" in caught.value.fix


def test_options_reach_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []  # Any: what onnxruntime takes
    real = onnxruntime.InferenceSession
    present = ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def open_(model: str, options: object, providers: object) -> object:
        given.append(providers)
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: present)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_)
    with pytest.raises(MissingRequirementError, match="installed but does not start"):
        Runner(make_bundle(tmp_path), providers=[parse_provider("cuda:device_id=1")])
    assert given == [[("CUDAExecutionProvider", {"device_id": "1"})]]

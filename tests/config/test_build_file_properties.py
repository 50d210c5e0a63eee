from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.config.backend import Backend, Quantize
from compiler.config.dialects import migrate
from compiler.config.dump import dump_config
from compiler.config.load import BuildFile, read_build_file
from compiler.config.model import BuildConfig, Dataset, Frontend, Sampler, Verify, Workspace
from compiler.errors import BuildFileError
from compiler.preprocess.ops import CenterCrop, DecodeImage, Normalize, Pad, Resize, ToTensor

KEYS = st.sampled_from([
    *("name", "frontend", "backend", "dataset", "graph", "workspace", "verify", "classes"),
    *("model", "engine", "common", "calibration", "do_quantization", "dtype", "type", "compile"),
    *("quantize", "calibrate_mode", "skip_conv_layers", "shape", "checkpoint", "inputs", "path"),
    *("sampler", "suffix", "process_ops", "transform_ops", "size", "extra_ops", "work_dir"),
])  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(),
    st.sampled_from(["int8", "fp16", "vacc", "None", "kl", "Resize", "CustomFunc", "a.onnx"]),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4),
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


@settings(max_examples=150, deadline=None)
@given(document=DOCUMENTS, lenient=st.booleans(), override=st.text(max_size=8))
def test_any_mapping_loads_or_is_refused_with_a_reason(
    folder: Path, document: dict[str, Any], lenient: bool, override: str
) -> None:
    path = folder / "any.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    outcome: BuildFile | BuildFileError
    try:
        outcome = read_build_file(path, lenient=lenient, overrides=[f"name={override}"])
    except BuildFileError as error:
        outcome = error
    assert isinstance(outcome, BuildFile) or (outcome.what and outcome.fix)


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="ab1:-![]{}&*<#\"'|>%@`,.?~ \n\t\\\0é", max_size=40))
def test_any_text_loads_or_is_refused_with_a_reason(folder: Path, text: str) -> None:
    path = folder / "text.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BuildFileError):
        read_build_file(path)


FRACTIONS = st.floats(0, 1, exclude_min=True)
LAYERS = st.lists(st.integers(0, 200) | st.sampled_from(["conv*", "1", "a/b:0"]), max_size=3)
OPS = st.lists(
    st.one_of(
        st.builds(DecodeImage, cv2_flags=st.sampled_from([0, 1])),
        st.builds(Resize, size=st.integers(1, 64) | st.tuples(st.integers(1, 9), st.just(-1))),
        st.builds(CenterCrop, crop_size=st.tuples(st.integers(1, 9), st.integers(1, 9))),
        st.builds(Pad, value=st.integers(0, 255)),
        st.builds(
            Normalize,
            mean=st.tuples(FRACTIONS),
            std=st.tuples(FRACTIONS),
            div255=st.sampled_from([True, False, None]),
            norm_type=st.sampled_from(["mean_std", None]),
        ),
        st.just(ToTensor()),
    ),
    min_size=1,
    max_size=4,
)
CONFIGS = st.builds(
    BuildConfig,
    name=st.from_regex(r"[a-z0-9_][a-z0-9_.+-]{0,8}", fullmatch=True),
    frontend=st.builds(
        Frontend,
        checkpoint=st.sampled_from(["net.onnx", "~/a b.onnx", "1e3", "null", "$X/ö.onnx"]),
        shape=st.dictionaries(
            st.sampled_from(["input", "input.1", "a/b:0", "1", "x y"]),
            st.sampled_from([(1, 3, 8, 8), ((1, 3, 8, 8), (1, 3, 16, 16))]),
            max_size=2,
        ),
    ),
    backend=st.builds(
        Backend,
        dtype=st.sampled_from(["fp32", "fp16", "int8"]),
        quantize=st.builds(
            Quantize,
            calibrate_mode=st.sampled_from(["kl_divergence", "percentile", "max", "mse"]),
            calibrate_range=FRACTIONS,
            skip_conv_layers=LAYERS,
            quantize_operators=st.just(["!_add"]),
        ),
    ),
    dataset=st.builds(Dataset, path=st.just("calib"), sampler=st.builds(Sampler), process_ops=OPS),
    workspace=st.builds(Workspace, save_log=st.booleans()),
    verify=st.builds(Verify, min_sqnr_db=st.none() | st.floats(-10, 1e30)),
    classes=st.lists(st.sampled_from(["sky", "no", "12", "a: b", "", "道"]), max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(config=CONFIGS)
def test_a_written_configuration_loads_again_as_the_same(folder: Path, config: BuildConfig) -> None:
    path = folder / "dump.yaml"
    text = dump_config(config)
    path.write_text(text, encoding="utf-8")
    again = read_build_file(path).config
    assert again == config.at(path)
    assert dump_config(again) == text
    path.write_text(migrate(path), encoding="utf-8")
    assert read_build_file(path).config == again

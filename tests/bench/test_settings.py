"""Lists as users type them, and the combinations of them."""

import pytest

from compiler.bench.settings import Setting, parse_counts, parse_engines, settings_of
from compiler.errors import BuildFileError


def test_lists_of_numbers_keep_their_order_and_drop_repetitions() -> None:
    assert parse_counts("4, 1,2,1", "--threads") == (4, 1, 2)


@pytest.mark.parametrize("text", ["", "0", "1,", "-1", "1.5", "two", "1;2", "1025", "²"])
def test_other_lists_are_usage_errors_that_name_the_option(text: str) -> None:
    with pytest.raises(BuildFileError) as caught:
        parse_counts(text, "--batch")

    assert caught.value.exit_code == 2
    assert caught.value.where == "--batch"
    assert "from 1 to 1024" in caught.value.what


def test_engines_are_known_by_name() -> None:
    assert parse_engines("openvino, auto", "--engine") == ("openvino", "auto")
    with pytest.raises(BuildFileError, match="no engine 'tensorrt'; there are onnxruntime"):
        parse_engines("openvino,tensorrt", "--engine")


def test_every_combination_is_one_setting() -> None:
    settings = settings_of([None, "auto"], [1, None], [1, 2], [1, 4])

    assert len(set(settings)) == len(settings) == 16
    assert settings[0] == Setting(None, 1, 1, 1)
    assert settings[1] == Setting(None, 1, 1, 4)
    assert settings[-1] == Setting("auto", None, 2, 4)

from pathlib import Path

import pytest

from compiler.errors import CalibrationError
from compiler.preprocess.chain import Chain
from compiler.preprocess.ops import CustomFunc

CODE = """
import sys

def leaves(path):
    sys.exit(3)
"""


def custom(tmp_path: Path, code: str) -> CustomFunc:
    path = tmp_path / "user_code.py"
    path.write_text(code)
    return CustomFunc(module_path=str(path), func_name="leaves")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (CODE, r"leaves of .*user_code\.py failed: it calls sys\.exit"),
        (
            "import sys\nsys.exit()\n",
            r"cannot import .*user_code\.py for leaves: it calls sys\.exit",
        ),
    ],
)
def test_code_that_would_end_the_process_is_an_error(
    tmp_path: Path, code: str, message: str
) -> None:
    op = custom(tmp_path, code)
    with pytest.raises(ValueError, match=message):
        op("image.png")
    with pytest.raises(CalibrationError, match=message):
        Chain([op], allow_custom_code=True)("image.png")


def test_the_refusal_of_custom_code_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run leaves of .*--allow-custom-code"):
        Chain([custom(tmp_path, CODE)])

"""What every engine must do is tested on every engine."""

from importlib.util import find_spec

import pytest

from compiler.runner.engine import ENGINES, EngineName


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Each engine in turn; one that is not installed is skipped."""
    name: EngineName = request.param
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return name

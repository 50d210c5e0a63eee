"""What the commands of this package share: logging, exit codes, and their need of PyTorch."""

import importlib.util
import logging
from collections.abc import Callable

from compiler.errors import MissingRequirementError, ModcError

logger = logging.getLogger(__name__)


def require_torch(command: str) -> None:
    """Refuse to go on without PyTorch.

    Args:
        command: The command that needs it, for the message.

    Raises:
        MissingRequirementError: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingRequirementError(
            "PyTorch is not installed, and this command builds a network with it",
            where=command,
            fix="pip install 'modc[train]'",
        )


def exit_code_of(work: Callable[[], object]) -> int:
    """Run a command's work with progress on the terminal and return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        work()
    except ModcError as error:
        logger.error("%s", error)
        return error.exit_code
    return 0

"""Every error that a user can cause, one class per exit code.

    ModcError
    ├── BuildFileError           2  usage or build file
    ├── GraphError               3  network that cannot be read or compiled
    ├── CalibrationError         4  images, arrays, or a calibration table
    ├── AccuracyError            5  compiled network below its accuracy gate
    ├── BundleError              6  bundle that cannot be written, read or run
    └── MissingRequirementError  7  absent package, engine or CPU feature

Exit code 1 is what the operating system refuses where no class foresees it (a locked folder, a full
disk); 130 (interrupted) belongs to KeyboardInterrupt.
"""

from typing import ClassVar


class ModcError(Exception):
    """A mistake that its reader can repair.

    Args:
        what: What is wrong, and what was expected.
        where: The file (with line and column), tensor, node or image concerned.
        fix: What to do about it, as an instruction.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  fix: {self.fix}"


class BuildFileError(ModcError):
    """Wrong command line or build file."""

    exit_code = 2


class GraphError(ModcError):
    """A network that cannot be read, converted or compiled."""

    exit_code = 3


class CalibrationError(ModcError):
    """Calibration data that is missing, unreadable or does not fit."""

    exit_code = 4


class AccuracyError(ModcError):
    """A compiled network that misses the accuracy its build file asks for."""

    exit_code = 5


class BundleError(ModcError):
    """A bundle that cannot be written, found, trusted or run."""

    exit_code = 6


class MissingRequirementError(ModcError):
    """A package, engine or CPU feature that this machine lacks."""

    exit_code = 7

"""`CustomOperator`: programs of the device, which no CPU can run."""

from compiler.errors import MissingRequirementError


class CustomOperator:
    """Refuses at once: what an `.elf` program computes is known to the device alone.

    Raises:
        MissingRequirementError: Always.
    """

    def __init__(self, op_name: str, elf_file_path: str = "(no file)") -> None:
        raise MissingRequirementError(
            f"custom operator '{op_name}' is a program of the device: {elf_file_path}",
            where="vaststreamx.CustomOperator",
            fix="use the script of this model without custom operators, or do this step in Python",
        )

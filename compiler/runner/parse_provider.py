"""Execution providers as a command line names them: `CUDA`, `CUDA:device_id=1,gpu_mem_limit=…`."""

from compiler.errors import BuildFileError
from compiler.runner.engine import Provider


def parse_provider(text: str) -> Provider:
    """Name and options of a provider; which names and options exist, ONNX Runtime says.

    Args:
        text: `NAME` or `NAME:key=value,key=value`; a value may hold `=` and `:`, but no comma.

    Raises:
        BuildFileError: Text of another form.
    """
    name, colon, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",")] if colon else []
    keys = [key.strip() for key, _, _ in pairs]
    complete = all(key and equals for key, (_, equals, _) in zip(keys, pairs, strict=True))
    if not name.strip() or not complete or len(set(keys)) < len(keys):
        raise BuildFileError(
            f"{text!r} names no execution provider",
            where="--provider",
            fix="write NAME, or NAME:key=value,key=value with each key once, such as "
            "CUDA:device_id=1",
        )
    options = {key: value.strip() for key, (_, _, value) in zip(keys, pairs, strict=True)}
    return (name.strip(), options) if options else name.strip()

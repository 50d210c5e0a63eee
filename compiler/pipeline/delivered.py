"""What a build file says of how programs written for the device get the outputs."""

from collections.abc import Sequence
from dataclasses import replace

from compiler.config.model import BuildConfig
from compiler.errors import BuildFileError
from compiler.runner.delivered import Delivered
from compiler.runner.manifest import TensorSpec

_LAYOUT, _SHAPE = "backend.compile.output_layout", "backend.compile.real_output_shape"


def with_delivery(config: BuildConfig, outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Outputs with the form in which the build file has them handed out.

    Raises:
        BuildFileError: A shape that does not fit its output.
    """
    layouts, shapes = config.backend.compile.layouts, config.backend.compile.shapes
    specs = list(outputs)
    for index, spec in enumerate(outputs):
        form = Delivered(layouts.get(index, "kept"), shapes.get(index, ()))
        if form == Delivered():
            continue
        try:
            specs[index] = replace(spec, delivered=form)
        except ValueError as error:
            raise BuildFileError(
                f"output '{spec.name}' {list(spec.shape)} cannot be handed out as "
                f"{list(form.shape)}: {error}",
                where=f"{config.name}: {_SHAPE}[{index}]",
                fix="give a shape with as many elements, or no axis shorter than the output's; "
                "null leaves the output as it is",
            ) from error
    return tuple(specs)


def delivery_warnings(config: BuildConfig, outputs: Sequence[TensorSpec]) -> list[str]:
    """Entries for outputs that the network does not have."""
    options = config.backend.compile
    return [
        f"{key} names output {index}, but the network has {len(outputs)}; ignored"
        for key, given in ((_LAYOUT, options.layouts), (_SHAPE, options.shapes))
        for index in given
        if index >= len(outputs)
    ]

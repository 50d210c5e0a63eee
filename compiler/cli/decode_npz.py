"""`modc decode-npz`: draw the npz files that vamp wrote."""

from collections.abc import Sequence
from pathlib import Path

import typer

from compiler.compat.draw import Reading, draw_outputs
from compiler.compat.pairs import pair_outputs
from compiler.compat.vamp.datalist import list_entries
from compiler.preprocess.serialise import op_from_dict
from compiler.preprocess.vdsp import read_vdsp
from compiler.runner.preprocessing import image_shape
from compiler.runner.read import read_bundle


def decode(
    outputs: Sequence[Path],
    datalist: Path,
    output: Path,
    *,
    model: str | None,
    vdsp_params: Path | None,
    images: Path | None,
    quiet: bool,
) -> None:
    """Draw masks, boxes or classes.

    Args:
        outputs: Folders or files of results.
        datalist: That they were made from.
        output: Folder for the drawings.
        model: Bundle that made them; None guesses how they are read.
        vdsp_params: JSON of the preprocessing that vamp used; None is the bundle's own.
        images: Folder of the original images; None draws on what the npz inputs hold.
        quiet: Print errors only.

    Raises:
        CalibrationError: An npz or image that cannot be used.
        BundleError: The bundle cannot be used, or a file cannot be written.
        BuildFileError: The JSON cannot be used.
    """
    pairs = pair_outputs(outputs, list_entries(datalist))
    files = draw_outputs(
        pairs,
        output,
        _reading(model, vdsp_params),
        images=images,
        echo=(lambda _: None) if quiet else typer.echo,
    )
    if not quiet:
        typer.echo(f"{len(pairs)} output(s): {len(files)} files in {output}")


def _reading(model: str | None, vdsp_params: Path | None) -> Reading:
    manifest = read_bundle(model).manifest if model else None
    shape = image_shape(manifest) if manifest else None
    vdsp = read_vdsp(vdsp_params) if vdsp_params else None
    if vdsp is not None and vdsp.reads_images:
        ops = vdsp.chain(shape).ops
    elif manifest is not None and manifest.preprocessing is not None:
        ops = tuple(op_from_dict(op) for op in manifest.preprocessing.ops)
    else:
        ops = ()
    if manifest is None:
        return Reading(ops=ops)
    return Reading(manifest.postprocessing, ops, shape, manifest.classes)

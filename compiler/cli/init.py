"""`modc init`: a first build file for a network."""

import json
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Final

import typer

from compiler.pipeline.init_build import check_target, init_build, write_draft
from compiler.preprocess.serialise import op_to_dict

STANDARD_OUTPUT: Final = Path("-")


def init(
    model: Path,
    *,
    images: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a build file and tell what is guessed in it; see `compiler.cli.building.init`.

    Raises:
        ModcError: The network or the images cannot be used, or the file cannot be written.
    """
    target = Path(f"{model.stem}.yaml") if output is None else output
    to_screen = target == STANDARD_OUTPUT
    if not to_screen:
        check_target(target, force=force)
    draft = init_build(model, images=images, folder=None if to_screen else target.parent)
    if not to_screen:
        write_draft(draft, target)
    if as_json:
        facts = {
            "file": None if to_screen else str(target),
            "name": draft.name,
            "dtype": draft.dtype,
            "guesses": [asdict(guess) for guess in draft.guesses],
            "unit": draft.unit,
            "rated": [
                {**asdict(one), "ops": [op_to_dict(op) for op in one.ops]} for one in draft.rated
            ],
        }
        if to_screen:
            facts["text"] = draft.text
        typer.echo(json.dumps(facts))
        return
    if to_screen:
        typer.echo(draft.text, nl=False)
        return
    if not quiet:
        for guess in draft.guesses:
            value = guess.value if isinstance(guess.value, str) else json.dumps(guess.value)
            typer.echo(f"guess: {guess.key}: {value}: {guess.why}", err=True)
        typer.echo(
            f"wrote {target}; check the lines marked 'guess', then: "
            f"modc compile {quote(str(target))}"
        )

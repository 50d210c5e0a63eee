"""`modc sensitivity`: where a bundle loses its accuracy, as its build measured it."""

import json

import typer

from compiler.cli.tables import print_table
from compiler.pipeline.rebuild import sensitivity_of
from compiler.report.sensitivity import sensitivity_facts, sensitivity_table
from compiler.runner.read import use_bundle


def sensitivity(prefix: str, *, limit: int, as_json: bool) -> None:
    """Print the layers of a bundle, the worst first; see `compiler.cli.examining.sensitivity`.

    Raises:
        BundleError: No bundle there, or it is not int8, or an older modc built it.
    """
    name, layers = use_bundle(prefix, lambda one: (one.manifest.name, sensitivity_of(one)))
    if as_json:
        typer.echo(json.dumps(sensitivity_facts(name, layers)))
    else:
        print_table(sensitivity_table(name, layers, limit))

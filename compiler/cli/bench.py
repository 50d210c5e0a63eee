"""`modc bench`: how fast a bundle is, and what it takes."""

import json
from pathlib import Path

import typer

from compiler.bench.measure import Plan, bench
from compiler.bench.settings import parse_counts, parse_engines, settings_of
from compiler.cli.progress import progress
from compiler.cli.tables import print_table
from compiler.report.bench import bench_facts, bench_notes, bench_tables


def bench_bundle(
    prefix: str,
    *,
    engines: str | None,
    threads: str | None,
    instances: str,
    batches: str,
    image: Path | None,
    preprocess: bool,
    rounds: int,
    seconds: float,
    iterations: int | None,
    compare: str | None,
    starts: int,
    processes: int,
    allow_custom_code: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure a bundle and print what was found; see `compiler.cli.running.bench`.

    Raises:
        ModcError: A list cannot be read; or as `compiler.bench.measure.bench`.
    """
    plan = Plan(
        settings=settings_of(
            [None] if engines is None else parse_engines(engines, "--engine"),
            [None] if threads is None else parse_counts(threads, "--threads"),
            parse_counts(instances, "--instances"),
            parse_counts(batches, "--batch"),
        ),
        rounds=rounds,
        seconds=seconds,
        iterations=iterations,
        image=image,
        preprocess=preprocess,
        compare=compare,
        starts=starts,
        processes=processes,
        allow_custom_code=allow_custom_code,
    )
    with progress(quiet=quiet or as_json) as report:
        found = bench(prefix, plan, progress=report)
    if as_json:
        typer.echo(json.dumps(bench_facts(found)))
        return
    for table in bench_tables(found):
        print_table(table)
    for note in bench_notes(found):
        typer.echo(note)

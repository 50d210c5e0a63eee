"""Commands that run bundles: run, bench, npz, decode-npz, vsx, verify."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.options import CustomCode, Engine, OneJson, Overrides, Prefix, Quiet, Threads

commands = typer.Typer()


@commands.command()
def run(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUILD.yaml | IMAGES...",
            help="A build file, whose bundle runs on all of dataset.path; or, with -m, images and "
            "folders of images.",
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Bundle: …/<name>/mod or its folder.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With -m: folder for masks, overlays and arrays."),
    ] = None,
    engine: Engine = None,
    threads: Threads = None,
    instances: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Images at the same time; default: one per CPU, 8 at most."
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]", help="ONNX Runtime execution provider, in order."
        ),
    ] = None,
    vdsp_params: Annotated[
        Path | None,
        typer.Option(help="Preprocess by this JSON, in place of the bundle's own ops."),
    ] = None,
    overrides: Overrides = None,
    dtype: Annotated[
        str | None, typer.Option(help="Run the bundle that compile --dtype built.")
    ] = None,
    allow_custom_code: CustomCode = False,
    quiet: Quiet = False,
) -> None:
    """Run a bundle on images; an image that fails is reported, and the others go on.

    BUILD.yaml: one npz of arrays per image in <bundle folder>-result, in place of earlier ones.

    -m PREFIX IMAGES... -o FOLDER: also class masks and overlays.

    Files are named after their image; _2, _3, ... follow where a name repeats.

    The exit code is 4 if images failed.
    """
    from compiler.cli.run import Options
    from compiler.cli.run import run as command
    from compiler.runner.parse_provider import parse_provider

    options = Options(
        engine=engine,
        threads=threads,
        instances=instances,
        providers=[parse_provider(text) for text in provider] if provider else None,
        vdsp_params=vdsp_params,
        allow_custom_code=allow_custom_code,
        quiet=quiet,
    )
    code = command(
        paths, options, model=model, output=output, overrides=overrides or (), dtype=dtype
    )
    raise typer.Exit(code)


@commands.command()
def bench(
    model: Prefix,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="onnxruntime, openvino, auto; default: what the bundle names."
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Threads per operator; default: the CPUs, shared by instances."
        ),
    ] = None,
    instances: Annotated[
        str, typer.Option(metavar="LIST", help="Requests at the same time.")
    ] = "1",
    batch: Annotated[str, typer.Option(metavar="LIST", help="Samples per request.")] = "1",
    image: Annotated[
        Path | None, typer.Option(help="Image to feed; else seeded random values.")
    ] = None,
    preprocess: Annotated[
        bool, typer.Option("--preprocess", help="Also time the way from --image to the outputs.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Turns of each setting.")] = 10,
    seconds: Annotated[
        float, typer.Option(min=0.01, help="Of each setting, all its turns together.")
    ] = 3.0,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Requests of each setting, in place of --seconds.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Bundle or MODEL.onnx that takes turns with it."),
    ] = None,
    starts: Annotated[
        int, typer.Option(min=0, max=1000, help="Starts to time of each kind; 0 times none.")
    ] = 3,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Show what so many processes share; 1 shows nothing.")
    ] = 1,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a bundle: latency, throughput, starts, memory and energy.

    A LIST is written with commas; every combination is measured, all in turns.

    Example: modc bench -m deploy_weights/net_int8/mod --threads 1,2 --compare net.onnx
    """
    from compiler.cli.bench import bench_bundle

    bench_bundle(
        model,
        engines=engine,
        threads=threads,
        instances=instances,
        batches=batch,
        image=image,
        preprocess=preprocess,
        rounds=rounds,
        seconds=seconds,
        iterations=iterations,
        compare=compare,
        starts=starts,
        processes=processes,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )


@commands.command()
def npz(
    dataset: Annotated[
        Path, typer.Option("--dataset_path", "--dataset-path", help="Folder of images.")
    ],
    target: Annotated[
        Path, typer.Option("--target_path", "--target-path", help="Folder for the npz files.")
    ],
    text: Annotated[
        Path, typer.Option("--text_path", "--text-path", help="List of the npz files to write.")
    ],
    suffix: Annotated[
        str | None, typer.Option(help="What file names end in, such as .png; else any image.")
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="File names to leave out, such as '*_matte.png'."),
    ] = None,
    gray: Annotated[bool, typer.Option("--gray", help="One channel instead of three.")] = False,
    quiet: Quiet = False,
) -> None:
    """Convert images to the npz files that vamp reads, and list them.

    Example: modc npz --dataset_path images --target_path npz --text_path npz_datalist.txt
    """
    from compiler.cli.npz import convert

    convert(dataset, target, text, suffix=suffix, skip=skip or (), gray=gray, quiet=quiet)


@commands.command("decode-npz")
def decode_npz(
    outputs: Annotated[list[Path], typer.Argument(help="Folders, or files output_<number>.npz.")],
    datalist: Annotated[Path, typer.Option(help="The list that vamp ran on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the drawings.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Bundle that made them; else it is guessed.")
    ] = None,
    vdsp_params: Annotated[
        Path | None,
        typer.Option(
            "--vdsp_params", "--vdsp-params", help="Preprocessing of the run; else the bundle's."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the original images; else those in the npz.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw what vamp wrote: masks, boxes or classes, on the images.

    Example: modc decode-npz npz_output --datalist npz_datalist.txt -m deploy/net/mod -o drawn
    """
    from compiler.cli.decode_npz import decode

    decode(
        outputs,
        datalist,
        output,
        model=model,
        vdsp_params=vdsp_params,
        images=images,
        quiet=quiet,
    )


@commands.command(context_settings={"allow_interspersed_args": False})
def vsx(
    script: Annotated[Path, typer.Argument(help="Python script that imports vaststreamx.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Of the script, as it documents them.")
    ] = None,
    engine: Engine = None,
    threads: Threads = None,
    instances: Annotated[
        int, typer.Option(min=1, max=1024, help="Samples of one model at the same time.")
    ] = 1,
) -> None:
    """Run a published inference script, unchanged, on bundles.

    Example: modc vsx vsx_inference.py --file_path street.png --device 0
    """
    from compiler.cli.vsx import run_script

    run_script(script, arguments or (), engine=engine, threads=threads, instances=instances)


@commands.command()
def verify(
    prefix: Annotated[str, typer.Argument(help="Bundle: …/<name>/mod or its folder.")],
) -> None:
    """Check every file of a bundle against its hash, and that the bundle loads."""
    from compiler.runner.load import Runner

    with Runner(prefix) as runner:
        digest = runner.bundle.digest
    typer.echo(f"{prefix}: whole; mod.json sha256 {digest}")

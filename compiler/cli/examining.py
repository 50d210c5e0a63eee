"""Commands that look into bundles: profile, diff, sensitivity, debug, report, eval."""

from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.options import CustomCode, Engine, OneJson, Prefix, Quiet, Threads

commands = typer.Typer()


@commands.command()
def profile(
    model: Prefix,
    original: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="Network the bundle was made from; else the unchanged one of its build file.",
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Image to feed; else seeded random values.")
    ] = None,
    threads: Threads = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Runs to take the mean of.")] = 10,
    limit: Annotated[int, typer.Option(min=0, help="Most nodes to list; 0 lists all.")] = 15,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Time every node of a bundle, and of the network it was made from.

    Example: modc profile -m deploy_weights/official_unet3p_int8/mod --threads 1
    """
    from compiler.cli.profile import profile as command

    command(
        model,
        original=original,
        image=image,
        threads=threads,
        runs=runs,
        limit=limit,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )


@commands.command()
def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="Bundle (…/<name>/mod or its folder) or MODEL.onnx.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise; it is compared with A.")],
    image: Annotated[
        Path | None,
        typer.Option(help="Image to feed, through the bundle's preprocessing; else random values."),
    ] = None,
    no_run: Annotated[
        bool, typer.Option("--no-run", help="Compare graphs, builds and scales only.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=0, help="Most nodes, scales and layers to list; 0 lists all.")
    ] = 15,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 unless A and B are identical.")
    ] = False,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare two bundles, or a bundle and an ONNX file: graphs, scales, values, speed.

    Example: modc diff deploy_weights/net_int8/mod net.onnx --image street.png
    """
    from compiler.cli.diff import diff as command

    identical = command(
        a,
        b,
        image=image,
        run=not no_run,
        limit=limit,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )
    if exit_code and not identical:
        raise typer.Exit(1)


@commands.command()
def sensitivity(
    model: Prefix,
    limit: Annotated[int, typer.Option(min=0, help="Most layers to list; 0 lists all.")] = 15,
    as_json: OneJson = False,
) -> None:
    """Rank the layers of an int8 bundle by the error that each adds.

    Example: modc sensitivity -m deploy_weights/official_unet3p_int8/mod --limit 0
    """
    from compiler.cli.sensitivity import sensitivity as command

    command(model, limit=limit, as_json=as_json)


@commands.command()
def debug(
    model: Prefix,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="BUILD.yaml",
            help="Build file of the bundle; else the one it holds, with its unchanged network.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Most layers to look into; 0 looks into all.")
    ] = 5,
    images: Annotated[int, typer.Option(min=1, help="Most images to measure accuracy on.")] = 20,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell why an int8 bundle loses accuracy, price each way out, and print a patch that helps.

    Example: modc debug -m deploy_weights/official_unet3p_int8/mod --limit 3
    """
    from compiler.cli.debug import debug as command

    command(
        model,
        config=config,
        limit=limit,
        images=images,
        allow_custom_code=allow_custom_code,
        as_json=as_json,
        quiet=quiet,
    )


@commands.command()
def report(
    bundles: Annotated[
        list[str], typer.Argument(metavar="BUNDLE…", help="…/<name>/mod or its folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page; default: report.html, if nothing else asked."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a Markdown table of the bundles.")
    ] = False,
    previous: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Bundles that these replace, by name, to set them off against in the table.",
        ),
    ] = None,
    model_explorer: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Write SQNR, time and arithmetic of each node as node data for Model Explorer.",
        ),
    ] = None,
    as_json: OneJson = False,
) -> None:
    """Write the page of a bundle again, or one page that compares several bundles.

    A page made again is that of the build without its pictures.

    Example: modc report deploy_weights/net_fp16/mod deploy_weights/net_int8/mod -o both.html
    """
    from compiler.cli.report import DEFAULT_PAGE, Wanted
    from compiler.cli.report import report as command

    if previous is not None and not markdown:
        raise typer.BadParameter("it is for the table of --markdown", param_hint="--previous")
    if out is None and not markdown and model_explorer is None:
        out = DEFAULT_PAGE
    command(bundles, Wanted(out, markdown, previous, model_explorer), as_json=as_json)


@commands.command("eval")
def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Bundle: …/<name>/mod or its folder; -m again for more."
        ),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(
            "--onnx", metavar="MODEL.onnx", help="Network of the bundles: the fp32 to compare with."
        ),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks; without, only how far the networks agree is told."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="foreground_iou, mean_iou, dice, …, m1 to m9, m4b, m12 as published, topk, "
            "coco; default: as the build file or the network's output says."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Lines 'image number', for topk; else a folder of images per class."),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Objects in COCO's JSON, for a detector.")
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Names of masks, such as '{stem}_matte.png'."),
    ] = None,
    pair_image: Annotated[
        str,
        typer.Option(metavar="PATTERN", help="Names of images, such as '{stem}_leftImg8bit'."),
    ] = "{stem}",
    image_list: Annotated[
        Path | None, typer.Option(help="File with one image a line, below --images.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most images, spread evenly over all.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names with commas, or how many; default: as the bundle says."),
    ] = None,
    ignore: Annotated[
        int | None, typer.Option(min=0, help="Value of the masks that does not count.")
    ] = None,
    npz: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Results of vamp, in place of running; needs --datalist."),
    ] = None,
    datalist: Annotated[
        Path | None, typer.Option(help="The list that vamp ran on; masks are named like its npz.")
    ] = None,
    confusion: Annotated[
        bool, typer.Option("--confusion", help="Show the confusion matrix of the classes.")
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Exit with 5 if the metric drops by more than this."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures of every image.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the class maps as palette PNG.")
    ] = None,
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Exit with 0 although images failed.")
    ] = False,
    engine: Engine = None,
    threads: Threads = None,
    instances: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Images at the same time; default: one per CPU."),
    ] = None,
    allow_custom_code: CustomCode = False,
    as_json: OneJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure networks on their task, side by side: fp32, fp16, int8.

    The first network is what the others are compared with: --onnx, else a bundle of fp32, else the
    first bundle. The interval of a difference tells a drop from noise: it comes from 2000
    resamplings of the images, the same for both networks.

    An image that fails is named and left out of all networks; the exit code is then 4, unless
    --skip-errors. It is 5 if --max-drop is exceeded by the difference itself, noise or not.

    Example: modc eval -m net_fp16/mod -m net_int8/mod --onnx net.onnx --images test --masks truth
    """
    from compiler.cli.eval import evaluate as command
    from compiler.pipeline.evaluation.contenders import Running
    from compiler.pipeline.evaluation.question import Question

    counted = classes is not None and classes.strip().isdecimal()
    names = () if classes is None or counted else tuple(map(str.strip, classes.split(",")))
    question = Question(
        bundles=tuple(model or ()),
        original=original,
        results=tuple(npz or ()),
        datalist=datalist,
        images=images,
        image_list=image_list,
        masks=masks,
        labels=labels,
        annotations=annotations,
        metrics=tuple(metric or ()),
        classes=int(classes) if classes is not None and counted else None,
        names=names,
        ignore=ignore,
        mask_pattern=pair,
        image_pattern=pair_image,
        limit=limit,
        running=Running(engine, threads, instances, allow_custom_code),
        save=save,
        max_drop=max_drop,
    )
    code = command(
        question,
        confusion=confusion,
        csv_file=csv,
        skip_errors=skip_errors,
        as_json=as_json,
        quiet=quiet,
    )
    raise typer.Exit(code)

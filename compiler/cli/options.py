"""Option types that several commands share."""

from typing import Annotated, Literal

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the build file."),
]
Lenient = Annotated[bool, typer.Option("--lenient", help="Unknown keys warn instead of failing.")]
Strict = Annotated[bool, typer.Option("--strict", help="Warnings about the build file fail.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per build file and line.")
]
CustomCode = Annotated[
    bool, typer.Option("--allow-custom-code", help="Let CustomFunc run its Python file.")
]
Prefix = Annotated[str, typer.Option("--model", "-m", help="Bundle: …/<name>/mod or its folder.")]
Annotations = Annotated[
    Literal["github", "gitlab"] | None,
    typer.Option(
        help="Tell this CI service too, which shows errors and warnings beside their lines: GitHub "
        "on standard error, GitLab in gl-code-quality-report.json, which is added to."
    ),
]
OneJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Threads per operator; default: CPUs.")
]
Engine = Annotated[
    Literal["onnxruntime", "openvino", "auto"] | None,
    typer.Option(help="What runs the network; default: what the bundle names."),
]

"""`modc vsx`: a published inference script, unchanged, on bundles."""

import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import typer

import compiler
from compiler.errors import BuildFileError, ModcError
from compiler.runner.engine import EngineChoice


def run_script(
    script: Path,
    arguments: Sequence[str],
    *,
    engine: EngineChoice | None = None,
    threads: int | None = None,
    instances: int = 1,
) -> None:
    """Run a script as `python script arguments…` would, with our `vaststreamx`.

    Changes the process for good, as a script may: `sys.argv`, `sys.path`, `sys.modules`.

    Args:
        script: Python file.
        arguments: For the script.
        engine: Of every model that it loads; None is what the bundle names.
        threads: Of one operator.
        instances: Samples of one model that run at the same time.

    Raises:
        ModcError: No script there; or of our module, where the script lets it through.
        SystemExit: Of the script; or with 1 after an exception of its own, which is shown as
            Python shows it.
    """
    if not script.is_file():
        raise BuildFileError("no such script", where=str(script), fix="correct the path")
    from compiler.compat import vaststreamx
    from compiler.compat.vaststreamx.model import Loading, load_models_with

    load_models_with(Loading(engine, threads, instances))
    sys.modules["vaststreamx"] = vaststreamx
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except ModcError as error:
        _show_place(error, script)
        raise
    except Exception as error:
        trace = _trace_of(error, script)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        raise SystemExit(1) from None


def _trace_of(error: BaseException, script: Path) -> TracebackType | None:
    """The traceback from the script on; none where it does not compile."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != str(script):
        trace = trace.tb_next
    return trace


def _show_place(error: ModcError, script: Path) -> None:
    """Lines of the script and its modules that led to an error of ours."""
    ours = str(Path(compiler.__file__).parent)
    for frame in traceback.extract_tb(_trace_of(error, script)):
        if frame.filename.startswith(ours):
            return
        typer.echo(f'File "{frame.filename}", line {frame.lineno}: {frame.line}', err=True)

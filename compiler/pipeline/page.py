"""The files that tell of a build: report data, facts of the run, and the page that shows both."""

import json
import logging
from pathlib import Path
from typing import Final

from compiler.bundle.write import NewBundle
from compiler.errors import BundleError
from compiler.page.contents import Contents
from compiler.pipeline.pictures import Shown, make_comparisons, make_thumbnails
from compiler.pipeline.record import Facts, Record, make_manifest, report_facts
from compiler.runner.manifest import Manifest
from compiler.runner.read import Bundle, use_bundle

REPORT: Final = "mod.report.json"
RUN: Final = "mod.build.json"
PAGE: Final = "mod.report.html"

_LOG = logging.getLogger(__name__)


def commit_record(
    bundle: NewBundle, record: Record, run: Facts, shown: Shown
) -> tuple[str, str | None]:
    """Write everything that stands beside the network, and put the bundle in its place.

    A page that cannot be made costs no build: the bundle then goes without.

    Args:
        bundle: With the network in it.
        record: What was built, and how.
        run: What differs from run to run.
        shown: Samples that the page shows.

    Returns:
        SHA-256 of `mod.json`; and why there is no page, None where there is one.
    """
    report, failure = report_facts(record), None
    _write_json(bundle.folder / REPORT, report)
    _write_json(bundle.folder / RUN, run)

    def present(manifest: Manifest) -> None:
        nonlocal failure
        try:
            page = _render(manifest, report, run, record, shown)
        except Exception as error:  # whatever templates, plots and image files may raise
            _LOG.exception("the page could not be made")
            failure = f"{PAGE} could not be made: {type(error).__name__}: {error}"
        else:
            (bundle.folder / PAGE).write_text(page, encoding="utf-8")

    return bundle.commit(make_manifest(record), present=present), failure


def read_contents(prefix: str | Path) -> Contents:
    """What the files of a bundle hold for its page; the pictures were made by the build alone.

    Args:
        prefix: `…/<name>/mod` or its folder.

    Raises:
        BundleError: No bundle there, or one that is not whole or has no report data.
    """
    return use_bundle(prefix, _contents)


def _contents(bundle: Bundle) -> Contents:
    report = _read_json(bundle.folder / REPORT)
    if report is None:
        raise BundleError(
            f"it has no {REPORT}",
            where=str(bundle.prefix),
            fix="build the bundle again (modc compile)",
        )
    run = _read_json(bundle.folder / RUN)
    return Contents(json.loads(bundle.manifest.to_json()), report, run or {})


def _render(manifest: Manifest, report: Facts, run: Facts, record: Record, shown: Shown) -> str:
    from compiler.page.render import render_bundle  # takes as long to import as a small build

    thumbnails = make_thumbnails(record.samples)
    comparisons = make_comparisons(shown, record.graph.outputs[0].name, record.rule, record.chain)
    facts: Facts = json.loads(manifest.to_json())
    return render_bundle(Contents(facts, report, run, thumbnails, comparisons))


def _read_json(path: Path) -> Facts | None:
    """None where the file is absent."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError("no JSON object")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BundleError(
            f"cannot be read: {error}", where=str(path), fix="build the bundle again (modc compile)"
        ) from error
    return facts


def _write_json(path: Path, facts: Facts) -> None:
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")

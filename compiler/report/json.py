"""Results for a program."""

from dataclasses import asdict, replace
from typing import Any

from compiler.pipeline import Build


def build_facts(build: Build) -> dict[str, Any]:  # Any: a JSON object
    """A build as a JSON object: every field, plus the figures that a gate would look at."""
    facts = asdict(replace(build, search=None))
    if build.search is not None:
        facts["search"] = {
            "float_layers": sorted(build.search.layers),
            "points": build.search.trial.points,
            "drop": build.search.drop,
            "reached": build.search.reached,
            "finished": build.search.finished,
            "reason": build.search.reason,
            "trials": len(build.search.trials),
        }
    facts["prefix"] = str(build.prefix)
    facts["page"] = None if build.page is None else str(build.page)
    facts["cosine"] = build.verification.cosine
    facts["sqnr_db"] = build.verification.sqnr_db
    return facts

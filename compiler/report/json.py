"""Results for a program."""

from dataclasses import asdict
from typing import Any

from compiler.pipeline import Build


def build_facts(build: Build) -> dict[str, Any]:  # Any: a JSON object
    """A build as a JSON object: every field, plus the figures that a gate would look at."""
    facts = asdict(build)
    facts["prefix"] = str(build.prefix)
    facts["cosine"] = build.verification.cosine
    facts["sqnr_db"] = build.verification.sqnr_db
    return facts

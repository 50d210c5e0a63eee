"""Machines on which the cost model decides what a test wants."""

from dataclasses import fields
from typing import Any

from compiler.cost.machine import Machine

_ZEROS: dict[str, Any] = {field.name: 0.0 for field in fields(Machine)}  # and one text

FREE = Machine(**{**_ZEROS, "source": "free"})
"""Nothing costs anything: every rewrite is as cheap as what it replaces, and is made."""

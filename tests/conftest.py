"""Lets tests import `tests.support` from anywhere, and keeps them off the user's cache."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["MODC_CACHE"] = "off"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # also where a test imports onnxruntime first

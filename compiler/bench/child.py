"""A fresh process that loads a bundle step by step, runs it, and holds it until told to end.

Reads one line of JSON, an order of `compiler.bench.fresh`, and answers with one: milliseconds by
step and memory, or `{"error": [class, what, where, fix]}`. Ends when its standard input does.
Nothing is imported at the top but what Python brings along, because the imports are timed.
"""

import json
import sys
import time
from typing import Any


def main() -> None:
    """Do what the line on standard input says."""
    ready = time.monotonic()
    order = json.loads(sys.stdin.readline())

    from compiler.errors import ModcError

    try:
        answer = _load(order, ready)
    except ModcError as error:
        answer = {"error": [type(error).__name__, error.what, error.where, error.fix]}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


def _load(order: dict[str, Any], ready: float) -> dict[str, Any]:  # Any: JSON objects
    clock = time.monotonic
    begin = clock()
    from importlib import import_module

    from compiler.runner.load import Runner
    from compiler.runner.read import read_bundle

    engine = import_module(f"compiler.runner.{order['engine']}")
    if order["engine"] == "openvino":
        engine.version()  # imports openvino, which `load` would do
    imported = clock()

    import os
    from dataclasses import asdict

    from compiler.bench.memory import peak_memory, process_memory
    from compiler.runner.random_feeds import random_feeds

    own = os.getpid()
    before = process_memory(own)
    checking = clock()
    read_bundle(order["prefix"])
    checked = clock()
    checks = []
    for _ in range(2):  # the runner does it once more, from memory now; one may be interrupted
        start = clock()
        read_bundle(order["prefix"])
        checks.append(clock() - start)
    opening = clock()
    runner = Runner(order["prefix"], engine=order["engine"], threads=order["threads"])
    opened = clock() - min(checks)
    feeds = random_feeds(runner.inputs)
    running = clock()
    runner.infer(feeds)
    ran = clock()
    for _ in range(order["more_runs"]):
        runner.infer(feeds)
    after = process_memory(own)
    return {
        "milliseconds": {
            "python": 1000 * (ready - order["spawned"]),
            "imports": 1000 * (imported - begin),
            "check": 1000 * (checked - checking),
            "open": 1000 * (opened - opening),
            "first_run": 1000 * (ran - running),
        },
        "before": before and asdict(before),
        "after": after and asdict(after),
        "peak": peak_memory(own),
    }


if __name__ == "__main__":
    main()

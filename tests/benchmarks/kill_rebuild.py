"""Kill a build with SIGKILL at random moments; after each kill the bundle must load and run.

    python tests/benchmarks/kill_rebuild.py deploy_weights/NAME/mod --kills 50 -- \
        modc compile build_configs/NAME.yaml --quiet

The command runs once to its end first: that makes the bundle and tells how long it takes. Kills are
spread over that time, a third of them over its last tenth, in which the bundle is written.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compiler.runner.load import Runner


def main() -> None:
    """Exit code 1 with the error at the first bundle that does not load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prefix", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    moments = random.Random(options.seed)

    seconds = run(options.command, None)
    made = load(options.prefix)
    found: Counter[str] = Counter()
    for number in range(options.kills):
        begin = 0.9 if number % 3 == 2 else 0.0
        moment = moments.uniform(begin, 1.02) * seconds
        run(options.command, moment)
        now = load(options.prefix)
        found["old" if now == made else "new"] += 1
        made = now
        sys.stdout.write(f"{number + 1:3} killed after {moment:6.2f} s: loadable\n")
    run(options.command, None)
    load(options.prefix)
    left = sorted(path.name for path in options.prefix.parent.parent.glob(".*") if path.is_dir())
    sys.stdout.write(
        f"{options.kills} kills of a build of {seconds:.1f} s: {found['old']} times the old "
        f"bundle, {found['new']} times the new one; folders left after one more build: "
        f"{left or 'none'}\n"
    )


def run(command: Sequence[str], kill_after: float | None) -> float:
    """Seconds that the command ran until its end, or until it was killed with its children.

    Raises:
        CalledProcessError: It failed by itself.
    """
    begin = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        code = process.wait(kill_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    else:
        if code != 0:
            raise subprocess.CalledProcessError(code, command)
    return time.monotonic() - begin


def load(prefix: Path) -> int:
    """Load the bundle, run it on zeros, and return when its manifest was written (ns)."""
    with Runner(prefix, threads=1) as runner:
        runner.run({spec.name: np.zeros(spec.shape, spec.dtype) for spec in runner.inputs})
        return runner.bundle.prefix.with_suffix(".json").stat().st_mtime_ns


if __name__ == "__main__":
    main()

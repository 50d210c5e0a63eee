"""The faster engine for a bundle on this machine: measured once, then remembered.

Both are loaded in turn and run a few samples, as many at a time as the caller wants, after a pause
in which the threads of the other one stop waiting for work.
"""

import json
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from importlib.util import find_spec
from typing import Final, cast

from compiler.runner.cpu import cpu_features, cpu_name
from compiler.runner.engine import ENGINES, EngineName, Session, Tensor, open_session
from compiler.runner.random_feeds import random_feeds
from compiler.runner.read import Bundle
from compiler.runner.user_cache import KeptFiles, cache_folder

TURNS: Final = 3
SECONDS: Final = 0.05
"""A turn of one engine ends after the round in which it has run so long."""

_PAUSE: Final = 0.05
_FALLBACK: Final[EngineName] = "onnxruntime"
_KEPT_BYTES: Final = 1 << 20

_LOG = logging.getLogger(__name__)


def choose(bundle: Bundle, *, threads: int, instances: int, bfloat16: bool) -> EngineName:
    """The faster engine; ONNX Runtime where the other is absent or cannot run the bundle.

    Args:
        bundle: From `read_bundle`.
        threads: Threads of one operator.
        instances: Samples that run at the same time.
        bfloat16: Multiply in bfloat16 where this CPU can.
    """
    installed = {name: _version(name) for name in ENGINES}
    if absent := [name for name, found in installed.items() if found is None]:
        _LOG.info("%s: engine auto is %s: no %s", bundle.prefix, _FALLBACK, ", ".join(absent))
        return _FALLBACK
    kept = KeptFiles(cache_folder("engines", chosen="engines"), limit=_KEPT_BYTES)
    cpu = [cpu_name(), sorted(cpu_features())]
    facts = [bundle.digest, cpu, threads, instances, bfloat16, installed]
    key = sha256(json.dumps(facts).encode()).hexdigest() + ".json"
    remembered = _read(kept.read(key))
    if remembered is not None:
        return remembered
    times = _measure(bundle, threads, instances, bfloat16)
    best = min(times, key=lambda name: times[name], default=_FALLBACK)
    told = ", ".join(f"{name} {1000 * seconds:.2f} ms" for name, seconds in times.items())
    _LOG.info("%s: engine auto is %s: %s", bundle.prefix, best, told)
    if times:
        kept.write(key, json.dumps({"engine": best, "bundle": bundle.manifest.name}).encode())
    return best


def _version(engine: EngineName) -> str | None:
    """Of an installed engine; empty if its package has another name, such as onnxruntime-gpu."""
    if find_spec(engine) is None:
        return None
    try:
        return package_version(engine)
    except PackageNotFoundError:
        return ""


def _read(data: bytes | None) -> EngineName | None:
    name = json.loads(data)["engine"] if data is not None else None
    return cast(EngineName, name) if name in ENGINES else None


def _measure(
    bundle: Bundle, threads: int, instances: int, bfloat16: bool
) -> dict[EngineName, float]:
    """Seconds of one sample by engine, at best; an engine that cannot run it is left out."""
    feeds = random_feeds(bundle.manifest.inputs)
    sessions: dict[EngineName, Session] = {}
    for name in ENGINES:
        try:
            session = open_session(
                name, bundle.model, threads=threads, instances=instances, bfloat16=bfloat16
            )
            session.run(feeds)  # the first run takes longer
        except Exception as error:  # engines' errors have no common base
            _LOG.info("%s: engine %s cannot run it: %s", bundle.prefix, name, error)
        else:
            sessions[name] = session
    times = dict.fromkeys(sessions, float("inf"))
    with ThreadPoolExecutor(instances) as pool:
        for _ in range(TURNS):
            for name, session in sessions.items():
                time.sleep(_PAUSE)
                times[name] = min(times[name], _turn(pool, session, feeds, instances))
    for session in sessions.values():
        session.close()
    return times


def _turn(
    pool: ThreadPoolExecutor, session: Session, feeds: Mapping[str, Tensor], instances: int
) -> float:
    """Seconds of one sample, in the best of the rounds of one turn."""
    best, spent = float("inf"), 0.0
    while spent < SECONDS:
        start = time.perf_counter()
        for _ in pool.map(session.run, [feeds] * instances):
            pass
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds / instances), spent + seconds
    return best

"""Results of a build's stages in the cache, each found by the facts that decide it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compiler.pipeline.cache import StageCache, key

Facts = Mapping[str, Any]  # Any: a JSON object
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """What the results of a network's stages are found by.

    Args:
        cache: Of the stages.
        network: Facts that decide the float graph; None turns the cache off for its stages.
        name: Of the build, for people.
    """

    cache: StageCache
    network: Facts | None
    name: str

    def load(self, stage: str, facts: Facts, read: Callable[[Path], T]) -> T | None:
        """What `read` makes of the stored result, if there is one.

        Args:
            stage: Name of the stage.
            facts: What decides its result besides the network; None among the values turns the
                cache off.
            read: Of the result's folder; raises what it likes.
        """
        if not self._known(facts):
            return None
        return self.cache.load(stage, key(stage, self._all(facts)), read)

    def store(self, stage: str, facts: Facts, write: Callable[[Path], None]) -> None:
        """Keep the result that `write` puts into a folder."""
        if self._known(facts):
            self.cache.store(stage, key(stage, self._all(facts)), write, self.name)

    def _known(self, facts: Facts) -> bool:
        return self.network is not None and None not in facts.values()

    def _all(self, facts: Facts) -> Facts:
        return {"network": self.network, **facts}

"""Samples that many networks run on, loaded once as far as memory allows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

KEPT_BYTES: Final = 256 * 2**20
"""Preprocessed samples beyond it are loaded again for every network."""

Key = TypeVar("Key")
Item = TypeVar("Item")


@dataclass(slots=True)
class LoadedOnce(Generic[Key, Item]):
    """Items in the order of their keys, as often as they are asked for.

    Args:
        keys: What to load.
        load: Key -> item.
        size: Bytes of an item.
    """

    keys: Sequence[Key]
    load: Callable[[Key], Item]
    size: Callable[[Item], int]
    _kept: dict[Key, Item] = field(default_factory=dict)
    _free: int = field(default_factory=lambda: KEPT_BYTES)

    def __iter__(self) -> Iterator[Item]:
        for key in self.keys:
            if key in self._kept:
                yield self._kept[key]
                continue
            item = self.load(key)
            if self.size(item) <= self._free:
                self._kept[key] = item
                self._free -= self.size(item)
            yield item

"""A YAML document as values that remember where they were written."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from compiler.config.problems import KeyPath, Place

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """One value; the readers of a build file move and replace nodes, places stay with them.

    Args:
        value: Scalar, list of nodes, or nodes by key.
        place: Where the value begins.
        key_place: Where its key begins; for list items and the document the same as `place`.
    """

    value: "dict[str, Node] | list[Node] | Scalar"
    place: Place
    key_place: Place

    @property
    def mapping(self) -> "dict[str, Node]":
        """The entries, or none where the value is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    def get(self, *path: str | int) -> "Node | None":
        """The node at a path below this one."""
        steps = list(self.walk(path))
        return steps[-1] if len(steps) == len(path) + 1 else None

    def walk(self, path: KeyPath) -> "Iterator[Node]":
        """This node and those along the path, as far as it exists."""
        node: Node | None = self
        for part in (*path, None):
            if node is None:
                return
            yield node
            node = node._child(part)

    def deepest(self, path: KeyPath) -> "Node":
        """The last node along the path that exists."""
        return list(self.walk(path))[-1]

    def plain(self) -> Any:  # Any: whatever the YAML holds
        """The values without their places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def _child(self, part: str | int | None) -> "Node | None":
        if isinstance(self.value, dict):
            return self.value.get(part) if isinstance(part, str) else None
        if isinstance(self.value, list) and isinstance(part, int):
            return self.value[part] if 0 <= part < len(self.value) else None
        return None

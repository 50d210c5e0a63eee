"""What a pass reports: how much it changed, and what it declined and why."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Skip:
    """One site that a pass left alone.

    Args:
        where: Name of the tensor (first output of the node) at the site.
        reason: Why the rewrite would be wrong or useless there.
    """

    where: str
    reason: str


@dataclass(slots=True)
class PassResult:
    """Outcome of one pass over one graph.

    Args:
        name: The pass, as `modc passes` lists it.
        changed: Number of sites rewritten.
        skipped: Sites that looked alike and had to stay, with reasons.
        warnings: Facts the user must know, such as values that were clamped.
    """

    name: str
    changed: int = 0
    skipped: list[Skip] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

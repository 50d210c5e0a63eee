"""Which known word a misspelt one stands for."""

from collections.abc import Iterable


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.

    Source: optimal string alignment, the restricted form of F. J. Damerau, A technique for computer
    detection and correction of spelling errors, Communications of the ACM 7(3), 1964.
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (char != other))
            if i > 1 and j > 1 and (char, a[i - 2]) == (b[j - 2], other):
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def nearest(word: str, known: Iterable[str], *, within: int | None = None) -> str | None:
    """The known word with the fewest edits, upper and lower case alike.

    Args:
        word: What was written.
        known: Candidates; the first of several equally near ones is taken.
        within: Largest number of edits; default a third of the word, and at least two.
    """
    limit = max(2, len(word) // 3) if within is None else within
    near = [(edit_distance(word.lower(), name.lower()), name) for name in known]
    distance, name = min(near, key=lambda pair: pair[0], default=(limit + 1, ""))
    return name if distance <= limit and distance < max(len(word), len(name)) else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error sentence, or nothing."""
    name = nearest(word, known)
    return f"; did you mean '{name}'?" if name else ""

"""Files that say what an earlier one said."""

import numpy as np
from numpy.typing import NDArray

from calibration.picture import Tone
from calibration.survey import Copy, Entry, find_copies, tally

BITS = np.random.default_rng(0).random((3, 255)) < 0.5


def entry(
    name: str,
    sha256: str,
    digest: str,
    bits: NDArray[np.bool_] | None = None,
    tone: Tone | None = None,
) -> Entry:
    return Entry(name, "JPEG", "RGB", "4×4", sha256, digest, tone, bits)


def test_the_strongest_likeness_is_told_and_each_file_once() -> None:
    similar = BITS[0].copy()
    similar[:4] ^= True
    entries = [
        entry("a", "file a", "pixels a", BITS[0]),
        entry("b", "file b", "pixels b", BITS[1]),
        entry("c", "file a", "pixels a", BITS[0]),
        entry("d", "file d", "pixels a", BITS[0]),
        entry("e", "file e", "pixels e", similar),
    ]
    assert find_copies(entries) == (
        Copy("c", "a", "same file"),
        Copy("d", "a", "same pixels"),
        Copy("e", "a", "similar", 4),
    )


def test_images_of_one_colour_are_no_copies_of_each_other() -> None:
    entries = [entry(name, "file", "pixels", BITS[0], "constant") for name in "ab"]
    assert find_copies(entries) == ()


def test_arrays_are_compared_by_their_content_alone() -> None:
    entries = [entry("a", "1", "x"), entry("b", "2", "y"), entry("c", "3", "x")]
    assert find_copies(entries) == (Copy("c", "a", "same pixels"),)


def test_the_most_frequent_value_comes_first_and_ties_are_in_order() -> None:
    assert list(tally(["b", "c", "a", "c"]).items()) == [("c", 2), ("a", 1), ("b", 1)]

"""How far two tensors that should be equal are apart."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SQNR_CEILING_DB = 200.0
"""Reported for tensors that are bit-identical: float32 resolves less than 150 dB."""


@dataclass(slots=True)
class Agreement:
    """Running comparison of a tensor with its reference, over any number of samples.

    Integers are numbers of classes, which are equal or not: they are compared as one-hot vectors,
    so that the cosine similarity is the share of equal ones.

    Sums are kept in float64; memory does not depend on the number of samples. Values that are
    not finite do not count where both sides have the same one; where they differ, the tensors
    have `diverged`, and no figure is worse; nor where no value is finite.
    """

    reference_power: float = 0.0
    other_power: float = 0.0
    product: float = 0.0
    error_power: float = 0.0
    max_error: float = 0.0
    diverged: bool = False
    finite: int = 0
    not_finite: int = 0

    def add(self, reference: ArrayLike, other: ArrayLike) -> None:
        """Take one more sample into account.

        Args:
            reference: Values of the float network, any shape.
            other: Values of the compiled network, same shape.

        Raises:
            ValueError: The shapes differ.
        """
        expected, actual = np.asarray(reference).ravel(), np.asarray(other).ravel()
        if expected.shape != actual.shape:
            raise ValueError(f"{expected.size} values against {actual.size}")
        if expected.dtype.kind in "biu":
            self._add_classes(expected.size, int(np.count_nonzero(expected == actual)))
        else:
            self._add_values(expected.astype(np.float64), actual.astype(np.float64))

    def add_sums(
        self, reference: float, other: float, error: float, max_error: float = 0.0
    ) -> None:
        """Take one more sample into account, of which only sums are known.

        Args:
            reference: Sum of reference²; not finite where a value is not.
            other: Sum of other².
            error: Sum of (reference - other)².
            max_error: Largest |reference - other|.
        """
        if not all(map(math.isfinite, (reference, other, error))):
            self.diverged = True
            return
        self.finite += 1
        self.reference_power += reference
        self.other_power += other
        # Errors of the sums hardly show in this difference: they cancel in the cosine.
        self.product += (reference + other - error) / 2
        self.error_power += error
        self.max_error = max(self.max_error, max_error)

    def _add_classes(self, size: int, equal: int) -> None:
        self.finite += size
        self.reference_power += size
        self.other_power += size
        self.product += equal
        self.error_power += 2 * (size - equal)
        self.max_error = max(self.max_error, float(size > equal))

    def _add_values(self, expected: NDArray[np.float64], actual: NDArray[np.float64]) -> None:
        finite = np.isfinite(expected) & np.isfinite(actual)
        if not finite.all():
            same = np.array_equal(expected[~finite], actual[~finite], equal_nan=True)
            self.diverged = self.diverged or not same
            self.not_finite += int(finite.size - np.count_nonzero(finite))
            expected, actual = expected[finite], actual[finite]
        self.finite += expected.size
        error = expected - actual
        self.reference_power += float(expected @ expected)
        self.other_power += float(actual @ actual)
        self.product += float(expected @ actual)
        self.error_power += float(error @ error)
        if error.size:
            self.max_error = max(self.max_error, float(np.abs(error).max()))

    @property
    def _undefined(self) -> bool:
        return self.diverged or (self.not_finite > 0 and self.finite == 0)

    @property
    def cosine(self) -> float:
        """Cosine similarity in [-1, 1]; 1 where both are zero, 0 where one is or they diverged."""
        if self._undefined:
            return 0.0
        norms = math.sqrt(self.reference_power) * math.sqrt(self.other_power)
        if norms == 0:
            return 1.0 if self.reference_power == self.other_power else 0.0
        return max(-1.0, min(1.0, self.product / norms))

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio, 10 log10(sum ref² / sum (ref - other)²), in dB."""
        if self._undefined:
            return -SQNR_CEILING_DB
        if self.error_power == 0:
            return SQNR_CEILING_DB
        if self.reference_power == 0:
            return -SQNR_CEILING_DB
        ratio = 10 * math.log10(self.reference_power / self.error_power)
        return max(-SQNR_CEILING_DB, min(SQNR_CEILING_DB, ratio))

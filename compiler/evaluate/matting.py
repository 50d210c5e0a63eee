"""Differences of two mattes with values in [0, 1]: Grad and Conn of a matting benchmark.

Source: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", 2009. As in
the published evaluation of MODNet, there is no trimap: every pixel counts.
"""

import math
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

_SIGMA: Final = 1.4  # of the gaussian, in pixels
_TAIL: Final = 1e-2  # the gaussian is cut where it falls below
_STEP: Final = 0.1  # between the thresholds of Conn
_SMALL: Final = 0.15  # distances below it do not count in Conn
_SCALE: Final = 1000  # both sums are given in thousands of pixels


def gradient_error(predicted: NDArray[Any], truth: NDArray[Any]) -> float:
    """Sum of squared differences of gradient magnitudes, / 1000.

    Both mattes, shape (H, W), are stretched to [0, 1] first; one that is constant becomes 0.
    """
    difference = _gradient(_stretched(predicted)) - _gradient(_stretched(truth))
    return float((difference**2).sum() / _SCALE)


def connectivity_error(predicted: NDArray[Any], truth: NDArray[Any]) -> float:
    """Sum of differences in the degree of connectedness, / 1000; mattes of shape (H, W).

    A pixel is connected up to the last threshold at which it belongs to the largest 4-connected
    region that both mattes share.
    """
    predicted, truth = predicted.astype(np.float32), truth.astype(np.float32)
    connected = np.full(truth.shape, -1, np.float32)
    thresholds = np.arange(0, 1 + _STEP, _STEP)
    for below, threshold in pairwise(thresholds):
        region = _largest_region((predicted >= threshold) & (truth >= threshold))
        connected[(connected == -1) & ~region] = below
    connected[connected == -1] = 1
    difference = _degree(predicted - connected) - _degree(truth - connected)
    return float(np.abs(difference).sum(dtype=np.float64) / _SCALE)


def _degree(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 - distance * (distance >= _SMALL), np.float32)


def _largest_region(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, labels, facts, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)
    areas = facts[1:, cv2.CC_STAT_AREA]
    return labels == 1 + np.argmax(areas) if len(areas) else np.zeros(inside.shape, bool)


def _stretched(matte: NDArray[Any]) -> NDArray[np.float64]:
    values = matte.astype(np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _gradient(matte: NDArray[np.float64]) -> NDArray[np.float64]:
    along_x = _derivative_kernel()
    parts = [
        cv2.filter2D(matte, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        for kernel in (along_x, along_x.T)
    ]
    return np.hypot(parts[0], parts[1])


def _derivative_kernel() -> NDArray[np.float64]:
    """Derivative of a gaussian along x, of norm 1."""
    half = math.ceil(_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * _SIGMA * _TAIL)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    gaussian = np.exp(-(x**2) / (2 * _SIGMA**2))
    kernel = np.outer(gaussian, -x * gaussian)
    return np.asarray(kernel / np.sqrt((kernel**2).sum()))

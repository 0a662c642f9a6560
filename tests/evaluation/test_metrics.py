"""Metrics agree with plain loops, and with scikit-learn where it has them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    precision_recall_curve,
    roc_auc_score,
)

from fapm_cli.evaluation.metrics import PixelCurves, balanced_accuracy, image_curve


def loop_auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    wins = 0.0
    for p in scores[positive]:
        for n in scores[~positive]:
            wins += 1.0 if p > n else 0.5 if p == n else 0.0
    return wins / float(positive.sum() * (~positive).sum())


labelled = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=st.integers(0, 8).map(float)),
        arrays(np.bool_, n).filter(lambda a: bool(a.any() and not a.all())),
    )
)


@settings(max_examples=60)
@given(labelled)
def test_image_metrics_agree_with_loop_and_scikit_learn_under_ties(
    case: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    scores, defective = case
    curve = image_curve(scores, defective)
    assert curve.area() == pytest.approx(loop_auroc(scores, defective), abs=1e-9)
    assert curve.area() == pytest.approx(roc_auc_score(defective, scores), abs=1e-9)
    expected = average_precision_score(defective, scores)
    assert curve.average_precision() == pytest.approx(expected, abs=1e-9)
    precision, recall, _ = precision_recall_curve(defective, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = curve.best_f1()
    assert best is not None
    assert best[0] == pytest.approx(f1.max(), abs=1e-9)
    accuracies = [balanced_accuracy_score(defective, scores >= t) for t in {*scores, np.inf}]
    assert curve.best_balanced_accuracy() == pytest.approx(max(accuracies), abs=1e-9)
    above = scores > 4
    expected = balanced_accuracy_score(defective, above)
    assert balanced_accuracy(above, defective) == pytest.approx(expected, abs=1e-9)
    called = scores >= best[1]
    true = (called & defective).sum()
    assert 2 * true / (called.sum() + defective.sum()) == pytest.approx(best[0], abs=1e-9)


@pytest.mark.parametrize("defective", [True, False])
def test_image_metrics_of_one_class_are_undefined(defective: bool) -> None:
    curve = image_curve(np.array([1.0, 2.0]), np.array([defective, defective]))
    assert curve.area() is None
    assert curve.average_precision() is None
    assert curve.best_f1() is None
    assert curve.best_balanced_accuracy() is None
    assert balanced_accuracy(np.array([True, False]), np.array([defective] * 2)) is None


def pictures(seed: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for i in range(4):
        mask = np.zeros((12, 15), dtype=bool)
        for _ in range(i):  # the first stays empty
            y, x = rng.integers(0, 9, 2)
            mask[y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = True
        scores = rng.integers(0, 12, mask.shape).astype(np.float32) + 3 * mask
        maps.append(scores.astype(np.float32))
        masks.append(mask)
    return maps, masks


@pytest.mark.parametrize("left_out", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(8))
def test_pixel_metrics_agree_with_loops_under_ties_and_empty_masks(
    seed: int, left_out: float
) -> None:
    of_each = pictures(seed)
    maps, masks = np.stack(of_each[0]), np.stack(of_each[1])
    maps[np.random.default_rng(seed).random(maps.shape) < left_out] = np.nan  # not inspected
    curves = PixelCurves()
    for scores, mask in zip(maps, masks, strict=True):
        curves.add(scores, mask)
    seen = ~np.isnan(maps)
    assert curves.auroc() == pytest.approx(roc_auc_score(masks[seen], maps[seen]), abs=1e-9)
    assert curves.aupro() == pytest.approx(plain_aupro(maps, masks), abs=1e-9)
    assert curves.aupro(1.0) == pytest.approx(plain_aupro(maps, masks, 1.0), abs=1e-9)


def plain_aupro(maps: NDArray[np.float32], masks: NDArray[np.bool_], limit: float = 0.3) -> float:
    """AUPRO by its definition (Bergmann et al., CVPR 2019), one threshold and pixel at a time.

    A point for each distinct score: which share of the good pixels, and of each region on
    average, lies at or above it. Lines join the points from (0, 0) on; the area under them up to
    the limit, cut where a line crosses it, is divided by the limit. NaN is not inspected: there is
    no such pixel.
    """
    regions = []
    seen = ~np.isnan(maps)
    for number, mask in enumerate(masks & seen):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [maps[number][labels == label].tolist() for label in range(1, count)]
    good = maps[~masks & seen].tolist()
    points = [(0.0, 0.0)]
    for threshold in sorted({*good, *itertools.chain(*regions)}, reverse=True):
        overlaps = [sum(v >= threshold for v in region) / len(region) for region in regions]
        false = sum(v >= threshold for v in good) / len(good)
        points.append((false, sum(overlaps) / len(overlaps)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit or x0 == x1:  # what rises vertically has no area, at the limit neither
            continue
        end = min(x1, limit)
        area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / limit


@st.composite
def coarse_maps(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Two pictures of ten good pixels in all, so that a rate of 0.3 is often met exactly."""
    masks = np.zeros((2, 4, 4), bool)
    bad = draw(st.permutations(range(32)))[:22]
    masks.ravel()[bad] = True
    levels = draw(st.integers(2, 20))
    values = draw(arrays(np.int64, 32, elements=st.integers(0, levels)))
    return values.reshape(masks.shape).astype(np.float32), masks


@settings(max_examples=200)
@given(coarse_maps())
def test_aupro_is_that_of_its_definition_also_where_the_curve_steps_at_the_limit(
    case: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> None:
    curves = PixelCurves()
    for scores, mask in zip(*case, strict=True):
        curves.add(scores, mask)
    assert curves.aupro() == pytest.approx(plain_aupro(*case), abs=1e-9)


def steps(seed: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """Two pictures of ten good pixels in all, of few levels: steps at a rate of 0.3 exactly."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(32, bool)
    mask[rng.permutation(32)[:22]] = True
    scores = rng.integers(0, 5 + seed, 32).astype(np.float32)
    return list(scores.reshape(2, 4, 4)), list(mask.reshape(2, 4, 4))


# What anomalib 2.7.0 (AUPRO with its limit of 0.3), and MVTec's evaluation code of 2022, say.
@pytest.mark.parametrize(
    ("make", "peers"),
    [
        (pictures, (0.617841, 0.222465, 0.520277, 0.500819, 0.390760, 0.323312)),
        (steps, (0.084375, 0.045455, 0.069444, 0.178472, 0.204545, 0.065290)),
    ],
)
def test_aupro_is_what_anomalib_and_mvtec_say(
    make: Callable[[int], tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]],
    peers: tuple[float, ...],
) -> None:
    for seed, said in enumerate(peers):
        curves = PixelCurves()
        for scores, mask in zip(*make(seed), strict=True):
            curves.add(scores, mask)
        assert curves.aupro() == pytest.approx(said, abs=1e-6)


def test_aupro_counts_no_step_at_the_very_limit() -> None:
    """Three of ten good pixels score above the defect: all it gains is at 30 %, and beyond."""
    scores = np.array([[9, 8, 7, 6, 1, 1, 1, 1, 1, 1, 1]], np.float32)
    mask = scores == 6
    curves = PixelCurves()
    curves.add(scores, mask)
    assert curves.aupro() == 0.0


def test_pixel_metrics_of_good_pictures_only_are_undefined() -> None:
    curves = PixelCurves()
    curves.add(np.ones((4, 4), np.float32), np.zeros((4, 4), bool))
    assert curves.auroc() is None
    assert curves.aupro() is None


def test_pixel_metrics_of_no_picture_are_undefined() -> None:
    assert PixelCurves().auroc() is None
    assert PixelCurves().aupro() is None


def test_bounded_memory_changes_pixel_metrics_by_less_than_a_thousandth() -> None:
    rng = np.random.default_rng(0)
    exact, bounded = PixelCurves(), PixelCurves(exact_pixels=5000)
    for _ in range(6):
        mask = np.zeros((64, 64), bool)
        mask[10:30, 20:40] = True
        scores = rng.gamma(2, 1, mask.shape).astype(np.float32) + mask
        exact.add(scores, mask)
        bounded.add(scores, mask)
    assert bounded.auroc() == pytest.approx(exact.auroc(), abs=1e-3)
    assert bounded.aupro() == pytest.approx(exact.aupro(), abs=1e-3)
    assert bounded.auroc() != exact.auroc()

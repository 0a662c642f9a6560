"""Plots: ROC, score histograms and the worst pictures, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fapm_cli.evaluation.metrics import Curve
from fapm_cli.files import one_line
from fapm_cli.finding.kinds import DRAWN_BY
from fapm_cli.pictures.picture import read_picture
from fapm_cli.stores.stored import AnyPath

GOOD_COLOUR, BAD_COLOUR = "#3b75af", "#c5352c"
GALLERY_COLUMNS = 6


def draw_roc(curve: Curve, title: str, threshold: float | None) -> bytes | None:
    """Draw true against false positive rate, and the bank's own; None where one class is missing.

    Args:
        curve: of the image scores.
        title: above it.
        threshold: the bank's, a score above it is anomalous; None where none holds.
    """
    if not curve.defined:
        return None
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    false, true = curve.rates
    axes.step(false, true, where="post", color=BAD_COLOUR)
    axes.plot([0, 1], [0, 1], ":", color="grey")
    if threshold is not None:
        at = int((curve.thresholds > threshold).sum())
        label = (
            f"{_of_bank(threshold)}:\n{false[at]:.1%} of good, {true[at]:.1%} of defective above"
        )
        axes.plot(false[at], true[at], "o", color="black", label=label, clip_on=False)
        axes.legend(loc="lower right")
    axes.set(xlabel="good parts called anomalous", ylabel="defective parts found")
    _entitle(axes, f"{title}: image AUROC {curve.area():.4f}")
    return _png(figure)


def draw_histogram(
    scores: NDArray[np.float64], defective: NDArray[np.bool_], title: str, threshold: float | None
) -> bytes:
    """Draw how many good and defective pictures have which score, and the bank's threshold."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    parts = [scores[~defective], scores[defective]]
    labels = [f"good ({len(parts[0])})", f"defective ({len(parts[1])})"]
    bins = np.histogram_bin_edges(scores, 40)
    axes.hist(
        parts, bins.tolist(), label=labels, color=[GOOD_COLOUR, BAD_COLOUR], histtype="barstacked"
    )
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", label=_of_bank(threshold))
    axes.set(xlabel="image score", ylabel="pictures")
    _entitle(axes, title)
    axes.legend()
    return _png(figure)


def draw_gallery(
    paths: Sequence[AnyPath],
    scores: NDArray[np.float64],
    defective: NDArray[np.bool_],
    title: str,
    bit_depth: int,
) -> bytes | None:
    """Show the good pictures with the highest scores and the defective ones with the lowest.

    Pictures of more than 8 bits are decoded as ``bit_depth`` says.
    """
    order = np.argsort(scores)
    alarms = [i for i in order[::-1] if not defective[i]][:GALLERY_COLUMNS]
    misses = [i for i in order if defective[i]][:GALLERY_COLUMNS]
    figure = Figure(figsize=(2.2 * GALLERY_COLUMNS, 5.4), layout="constrained")
    head = f"{title}: good pictures that score highest, defective ones that score lowest"
    figure.suptitle(one_line(head), parse_math=False)
    grid = figure.subplots(2, GALLERY_COLUMNS)
    for row, chosen in zip(grid, (alarms, misses), strict=True):
        for axes in row:
            axes.axis("off")
        for axes, i in zip(row, chosen, strict=False):
            axes.imshow(read_picture(paths[i], bit_depth).image)
            _entitle(axes, f"{paths[i].parent.name}/{paths[i].stem}", f"{scores[i]:.3f}")
    return _png(figure)


def _of_bank(threshold: float) -> str:
    return f"the bank's threshold, {threshold:.4g}"


def _entitle(axes: Axes, *lines: str) -> None:
    """Set a title as it stands: names may hold dollars, which mean mathematics to matplotlib."""
    title = "\n".join(one_line(line) for line in lines)
    axes.set_title(title, parse_math=False, fontsize=10)


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": DRAWN_BY})
    return data.getvalue()

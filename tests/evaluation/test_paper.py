"""What the paper says, as it is quoted."""

from __future__ import annotations

import pytest

from fapm_cli.evaluation.paper import paper_methods, paper_variant

MVTEC_AD = (
    *("carpet", "grid", "leather", "tile", "wood", "bottle", "cable", "capsule", "hazelnut"),
    *("metal_nut", "pill", "screw", "toothbrush", "transistor", "zipper"),
)
# Averages that the paper prints below its table. Those of SPADE's (85.5) and DifferNet's (94.9)
# image figures are not the means of their columns.
AVERAGES = {
    "SPADE": (None, 96.0),
    "PatchSVDD": (92.1, 95.7),
    "PaDiM": (None, 97.5),
    "CFlow": (98.3, 98.6),
    "PatchCore": (99.1, 98.1),
    "FAPM": (99.0, 98.0),
}


@pytest.mark.parametrize("method", AVERAGES)
def test_columns_of_table_1_have_the_averages_that_the_paper_prints(method: str) -> None:
    quoted = [paper_methods(category)[method] for category in MVTEC_AD]
    for name, average in zip(("image_auroc", "pixel_auroc"), AVERAGES[method], strict=True):
        if average is not None:
            rates = [one[name] for one in quoted]
            assert sum(100 * (rate or 0) for rate in rates) / 15 == pytest.approx(average, abs=0.2)


def test_what_the_paper_does_not_have_is_left_open() -> None:
    assert paper_variant(None) == dict.fromkeys(("image_auroc", "pixel_auroc", "images_per_second"))
    for category in ("samples", "FPS", "category"):
        assert {one["image_auroc"] for one in paper_methods(category).values()} == {None}

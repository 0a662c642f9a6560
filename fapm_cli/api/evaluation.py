"""Labelled datasets from a program."""

from __future__ import annotations

from typing import Any

from fapm_cli.api.detector import Detector
from fapm_cli.api.learning import build
from fapm_cli.compute.cluster import Cluster, connected, device_for
from fapm_cli.detection.record import Record
from fapm_cli.evaluation.datasets import Category, find_categories
from fapm_cli.evaluation.evaluate import evaluate as evaluate_engine
from fapm_cli.evaluation.evaluation import Evaluation
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import AnyPath


def evaluate(
    dataset: str | AnyPath,
    *,
    device: str = "auto",
    precision: str = "auto",
    on: str | None = None,
    **build_as: Any,
) -> list[Record]:
    """Learn and judge each category of a labelled dataset.

    Args:
        dataset: a folder or table in a layout that ``fapm eval --help`` names.
        device: to work on.
        precision: to judge in.
        on: a cluster that builds and judges, as for :func:`build`; None for this process.
        build_as: as for :func:`build`.

    Returns:
        A row each, as ``fapm eval --json`` gives it but for what takes a clock; rates from 0 to 1.

    Raises:
        PictureError: there is no category, or a picture of one can't be used.
        ClusterError: the cluster can't be had, or lacks what the work takes.
    """
    rows, where = [], device_for(on, device)
    with connected(on) as cluster:
        for found in find_categories(located(dataset)):
            category = found.read()
            bank = build(category.train, device=where, thumbnails=False, on=on, **build_as)
            detector = bank.detector(where, precision)
            rows.append(evaluate_category(category, detector, cluster=cluster).record())
    return rows


def evaluate_category(
    category: Category,
    detector: Detector,
    batch_size: int = 16,
    *,
    on_stage: OnStage = lambda stage, done, total: None,
    build_seconds: float | None = None,
    cluster: Cluster | None = None,
) -> Evaluation:
    """Judge a category's test pictures and compare with their labels.

    Args:
        category: of :func:`find_categories`, read.
        detector: of any bank.
        batch_size: pictures at a time.
        on_stage: told (stage, done, total) as the work goes on.
        build_seconds: how long the bank took to build, for the record.
        cluster: that judges, of :func:`fapm_cli.connected`; None for this process.

    Raises:
        PictureError: no picture can be read.
        ClusterError: the cluster lacks what the work takes.
    """
    return evaluate_engine(category, detector.engine, batch_size, on_stage, build_seconds, cluster)

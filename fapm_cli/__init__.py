"""Fast adaptive patch memory for visual inspection (Kim et al., ICASSP 2023).

::

    from fapm_cli import Detector, judge, load_bank

    detector = Detector(load_bank("bank.st"))
    for one in judge(detector, ["a.jpg", Path("b.png"), array]):
        ...

One convention everywhere: a place is x, y, a size height, width; files are strings or paths; a
picture in memory is an array (height, width, 3) uint8 RGB; device and precision are ``auto``
where nothing else is asked for. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fapm_cli.version import __version__

if TYPE_CHECKING:
    from fapm_cli.bank.backbone import bank_extractor as bank_extractor
    from fapm_cli.bank.bank import Bank as Bank
    from fapm_cli.bank.bank import nominal_picture as nominal_picture
    from fapm_cli.bank.file import load_bank as load_bank
    from fapm_cli.bank.file import save_bank as save_bank
    from fapm_cli.bank.presets import default_config as default_config
    from fapm_cli.bank.presets import paper_config as paper_config
    from fapm_cli.compute.device import resolve_device as resolve_device
    from fapm_cli.compute.plan import Plan as Plan
    from fapm_cli.compute.plan import make_plan as make_plan
    from fapm_cli.config import BankConfig as BankConfig
    from fapm_cli.config import Preprocessing as Preprocessing
    from fapm_cli.config import Query as Query
    from fapm_cli.detection.detection import Detection as Detection
    from fapm_cli.detection.detector import Detector as Detector
    from fapm_cli.detection.stream import Judged as Judged
    from fapm_cli.detection.stream import judge as judge
    from fapm_cli.errors import FapmError as FapmError
    from fapm_cli.evaluation.evaluate import Evaluation as Evaluation
    from fapm_cli.finding.search import Unreadable as Unreadable
    from fapm_cli.learning.batches import NominalBatch as NominalBatch
    from fapm_cli.learning.build import build_bank as build_bank
    from fapm_cli.learning.build import build_from_files as build_from_files
    from fapm_cli.learning.grow import add_pictures as add_pictures
    from fapm_cli.learning.memory_needed import memory_needed as memory_needed
    from fapm_cli.learning.merge import merge_banks as merge_banks
    from fapm_cli.memory.coreset import adaptive_coreset as adaptive_coreset
    from fapm_cli.memory.pages import patch_memory as patch_memory
    from fapm_cli.network.extraction import load_extractor as load_extractor
    from fapm_cli.pictures.reading import Prepared as Prepared
    from fapm_cli.pictures.reading import read_batches as read_batches
    from fapm_cli.pictures.reading import read_roi as read_roi
    from fapm_cli.scores.thresholds import Thresholds as Thresholds
    from fapm_cli.sources.source import Source as Source
    from fapm_cli.sources.source import camera_source as camera_source
    from fapm_cli.sources.source import files_source as files_source
    from fapm_cli.sources.source import watch_source as watch_source

_HOMES = {
    "bank_extractor": "bank.backbone",
    "Bank": "bank.bank",
    "nominal_picture": "bank.bank",
    "load_bank": "bank.file",
    "save_bank": "bank.file",
    "default_config": "bank.presets",
    "paper_config": "bank.presets",
    "resolve_device": "compute.device",
    "Plan": "compute.plan",
    "make_plan": "compute.plan",
    "BankConfig": "config",
    "Preprocessing": "config",
    "Query": "config",
    "Detection": "detection.detection",
    "Detector": "detection.detector",
    "Judged": "detection.stream",
    "judge": "detection.stream",
    "FapmError": "errors",
    "Evaluation": "evaluation.evaluate",
    "Unreadable": "finding.search",
    "NominalBatch": "learning.batches",
    "build_bank": "learning.build",
    "build_from_files": "learning.build",
    "add_pictures": "learning.grow",
    "memory_needed": "learning.memory_needed",
    "merge_banks": "learning.merge",
    "adaptive_coreset": "memory.coreset",
    "patch_memory": "memory.pages",
    "load_extractor": "network.extraction",
    "Prepared": "pictures.reading",
    "read_batches": "pictures.reading",
    "read_roi": "pictures.reading",
    "Thresholds": "scores.thresholds",
    "Source": "sources.source",
    "camera_source": "sources.source",
    "files_source": "sources.source",
    "watch_source": "sources.source",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fapm_cli' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fapm_cli.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

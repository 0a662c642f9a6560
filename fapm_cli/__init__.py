"""Fast adaptive patch memory for visual inspection (Kim et al., ICASSP 2023).

::

    import fapm_cli as fapm

    bank = fapm.build("good/")                # or paths, PIL pictures, arrays
    bank.save("part.st")
    detector = fapm.load("part.st").detector()
    result = detector("part.png")             # score, verdict, threshold, peak, regions, nearest
    result.heatmap().save("heat.png")
    for result in detector.stream("folder/"):
        print(result.to_json())
    bank = bank.calibrate("fresh/", aim=fapm.Aim(false_alarm_rate=0.01))
    bank = fapm.add(bank, "more/")           # likewise fapm.merge([one, other])
    rows = fapm.evaluate("mvtec_ad/bottle")

One convention everywhere: a place is x, y, a size height, width; files are strings or paths; a
picture in memory is an array (height, width, 3) uint8 RGB; device and precision are ``auto``
where nothing else is asked for. Every error raised on purpose is a :class:`FapmError`. Nothing is
imported before it is used.

For research, the stages by themselves, in the order in which data flow: ``load_extractor`` (§2.1),
``adaptive_coreset`` (§2.2), ``patch_memory`` and ``search`` (§2.3).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fapm_cli.version import __version__

if TYPE_CHECKING:
    from fapm_cli.api.bank import Bank as Bank
    from fapm_cli.api.bank import load as load
    from fapm_cli.api.detector import Detector as Detector
    from fapm_cli.api.evaluation import evaluate as evaluate
    from fapm_cli.api.evaluation import evaluate_category as evaluate_category
    from fapm_cli.api.learning import add as add
    from fapm_cli.api.learning import build as build
    from fapm_cli.api.learning import merge as merge
    from fapm_cli.api.listener import Listener as Listener
    from fapm_cli.api.report import Report as Report
    from fapm_cli.api.result import Result as Result
    from fapm_cli.api.speed import measure as measure
    from fapm_cli.bank.presets import configure as configure
    from fapm_cli.compute.cluster import Cluster as Cluster
    from fapm_cli.compute.cluster import connected as connected
    from fapm_cli.compute.cluster import device_for as device_for
    from fapm_cli.compute.cores import use_threads as use_threads
    from fapm_cli.compute.plan import Plan as Plan
    from fapm_cli.compute.plan import make_plan as make_plan
    from fapm_cli.config import BankConfig as BankConfig
    from fapm_cli.config import Preprocessing as Preprocessing
    from fapm_cli.config import Query as Query
    from fapm_cli.detection.record import Record as Record
    from fapm_cli.drawing.course import draw_course as draw_course
    from fapm_cli.drift.drift import Drift as Drift
    from fapm_cli.drift.history import History as History
    from fapm_cli.drift.log import read_log as read_log
    from fapm_cli.errors import BankError as BankError
    from fapm_cli.errors import ClusterError as ClusterError
    from fapm_cli.errors import DeviceError as DeviceError
    from fapm_cli.errors import FapmError as FapmError
    from fapm_cli.errors import ModelError as ModelError
    from fapm_cli.errors import OptionError as OptionError
    from fapm_cli.errors import OutputError as OutputError
    from fapm_cli.errors import PictureError as PictureError
    from fapm_cli.errors import WeightsError as WeightsError
    from fapm_cli.evaluation.datasets import Category as Category
    from fapm_cli.evaluation.datasets import find_categories as find_categories
    from fapm_cli.evaluation.evaluation import Evaluation as Evaluation
    from fapm_cli.evaluation.paper import paper_methods as paper_methods
    from fapm_cli.evaluation.paper import paper_variant as paper_variant
    from fapm_cli.line.check import check_line as check_line
    from fapm_cli.line.file import load_line as load_line
    from fapm_cli.line.findings import Finding as Finding
    from fapm_cli.line.line import Line as Line
    from fapm_cli.line.line import check_bank_name as check_bank_name
    from fapm_cli.memory.coreset import adaptive_coreset as adaptive_coreset
    from fapm_cli.memory.patch_memory import patch_memory as patch_memory
    from fapm_cli.memory.search import search as search
    from fapm_cli.network.loading import load_extractor as load_extractor
    from fapm_cli.pictures.seen import DIFFERENCES as DIFFERENCES
    from fapm_cli.pictures.seen import Differences as Differences
    from fapm_cli.scores.aim import Aim as Aim
    from fapm_cli.scores.thresholds import Thresholds as Thresholds
    from fapm_cli.scores.thresholds import pictures_needed as pictures_needed
    from fapm_cli.serving.feeding import Inlet as Inlet
    from fapm_cli.serving.serve import serve as serve
    from fapm_cli.serving.settings import Settings as Settings
    from fapm_cli.sinks.delivery import Delivery as Delivery
    from fapm_cli.sources.source import Source as Source
    from fapm_cli.sources.source import camera_source as camera_source
    from fapm_cli.sources.source import files_source as files_source
    from fapm_cli.sources.source import watch_source as watch_source

# Where each name lives: those of help(fapm_cli), then what they take and give, and the stages.
_PAGE = {
    "build": "api.learning",
    "add": "api.learning",
    "merge": "api.learning",
    "load": "api.bank",
    "Bank": "api.bank",
    "Detector": "api.detector",
    "Result": "api.result",
    "Report": "api.report",
    "Aim": "scores.aim",
    "Drift": "drift.drift",
    "Listener": "api.listener",
    "configure": "bank.presets",
    "evaluate": "api.evaluation",
    "measure": "api.speed",
    "camera_source": "sources.source",
    "files_source": "sources.source",
    "watch_source": "sources.source",
    "use_threads": "compute.cores",
    "connected": "compute.cluster",
    "pictures_needed": "scores.thresholds",
    "FapmError": "errors",
    "OptionError": "errors",
    "PictureError": "errors",
    "BankError": "errors",
    "WeightsError": "errors",
    "ModelError": "errors",
    "ClusterError": "errors",
    "DeviceError": "errors",
    "OutputError": "errors",
}
HOMES = {
    **_PAGE,
    "BankConfig": "config",
    "Preprocessing": "config",
    "Query": "config",
    "Thresholds": "scores.thresholds",
    "DIFFERENCES": "pictures.seen",
    "serve": "serving.serve",
    "Settings": "serving.settings",
    "Inlet": "serving.feeding",
    "Line": "line.line",
    "load_line": "line.file",
    "check_line": "line.check",
    "check_bank_name": "line.line",
    "Finding": "line.findings",
    "Differences": "pictures.seen",
    "History": "drift.history",
    "read_log": "drift.log",
    "draw_course": "drawing.course",
    "Source": "sources.source",
    "Record": "detection.record",
    "Cluster": "compute.cluster",
    "device_for": "compute.cluster",
    "Plan": "compute.plan",
    "make_plan": "compute.plan",
    "Delivery": "sinks.delivery",
    "Category": "evaluation.datasets",
    "find_categories": "evaluation.datasets",
    "Evaluation": "evaluation.evaluation",
    "evaluate_category": "api.evaluation",
    "paper_methods": "evaluation.paper",
    "paper_variant": "evaluation.paper",
    "load_extractor": "network.loading",
    "adaptive_coreset": "memory.coreset",
    "patch_memory": "memory.patch_memory",
    "search": "memory.search",
}

__all__ = ["__version__", *_PAGE]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'fapm_cli' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fapm_cli.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(["__version__", *HOMES])

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
    rows = fapm.evaluate("mvtec_ad/bottle")

One convention everywhere: a place is x, y, a size height, width; files are strings or paths; a
picture in memory is an array (height, width, 3) uint8 RGB; device and precision are ``auto``
where nothing else is asked for. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fapm_cli.version import __version__

if TYPE_CHECKING:
    from fapm_cli.api.bank import Bank as Bank
    from fapm_cli.api.bank import build as build
    from fapm_cli.api.bank import load as load
    from fapm_cli.api.detector import Detector as Detector
    from fapm_cli.api.evaluation import evaluate as evaluate
    from fapm_cli.api.result import Result as Result
    from fapm_cli.bank.presets import default_config as default_config
    from fapm_cli.bank.presets import paper_config as paper_config
    from fapm_cli.compute.plan import Plan as Plan
    from fapm_cli.compute.plan import make_plan as make_plan
    from fapm_cli.config import BankConfig as BankConfig
    from fapm_cli.config import Preprocessing as Preprocessing
    from fapm_cli.config import Query as Query
    from fapm_cli.errors import BankError as BankError
    from fapm_cli.errors import DeviceError as DeviceError
    from fapm_cli.errors import FapmError as FapmError
    from fapm_cli.errors import OptionError as OptionError
    from fapm_cli.errors import OutputError as OutputError
    from fapm_cli.errors import PictureError as PictureError
    from fapm_cli.errors import WeightsError as WeightsError
    from fapm_cli.memory.coreset import adaptive_coreset as adaptive_coreset
    from fapm_cli.memory.pages import patch_memory as patch_memory
    from fapm_cli.memory.search import search as search
    from fapm_cli.network.extraction import load_extractor as load_extractor
    from fapm_cli.scores.thresholds import Thresholds as Thresholds
    from fapm_cli.sources.source import camera_source as camera_source
    from fapm_cli.sources.source import files_source as files_source
    from fapm_cli.sources.source import watch_source as watch_source

_HOMES = {
    "Bank": "api.bank",
    "Detector": "api.detector",
    "Result": "api.result",
    "build": "api.bank",
    "evaluate": "api.evaluation",
    "load": "api.bank",
    "default_config": "bank.presets",
    "paper_config": "bank.presets",
    "Plan": "compute.plan",
    "make_plan": "compute.plan",
    "BankConfig": "config",
    "Preprocessing": "config",
    "Query": "config",
    "BankError": "errors",
    "DeviceError": "errors",
    "FapmError": "errors",
    "OptionError": "errors",
    "OutputError": "errors",
    "PictureError": "errors",
    "WeightsError": "errors",
    "adaptive_coreset": "memory.coreset",
    "patch_memory": "memory.pages",
    "search": "memory.search",
    "load_extractor": "network.extraction",
    "Thresholds": "scores.thresholds",
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

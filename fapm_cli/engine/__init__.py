"""The engine: the stages put together. This is the Python API that the commands are thin over.

::

    bank = build_bank(batches, capacity, config, load_extractor(config))
    save_bank(bank, "bank.st")
    for one in judge(Detector(load_bank("bank.st")), ["a.jpg", Path("b.png"), array]):
        ...

One convention everywhere: a place is x, y, a size height, width; files are strings or paths; a
picture in memory is an array (height, width, 3) uint8 RGB; device and precision are ``auto``
where nothing else is asked for.
"""

from fapm_cli.bank import Bank, load_bank, nominal_picture, save_bank
from fapm_cli.engine.builder import NominalBatch, build_bank, build_from_files, memory_needed
from fapm_cli.engine.detector import Detection, Detector, bank_extractor
from fapm_cli.engine.growing import add_pictures, merge_banks
from fapm_cli.engine.judging import Judged, judge
from fapm_cli.engine.presets import default_config, paper_config
from fapm_cli.engine.reading import Prepared, read_batches, read_roi
from fapm_cli.engine.sources import Source, camera_source, files_source, watch_source
from fapm_cli.engine.synthetic import synthetic_bank
from fapm_cli.extraction import load_extractor
from fapm_cli.finding import Unreadable

__all__ = [
    "Bank",
    "Detection",
    "Detector",
    "Judged",
    "NominalBatch",
    "Prepared",
    "Source",
    "Unreadable",
    "add_pictures",
    "bank_extractor",
    "build_bank",
    "build_from_files",
    "camera_source",
    "default_config",
    "files_source",
    "judge",
    "load_bank",
    "load_extractor",
    "memory_needed",
    "merge_banks",
    "nominal_picture",
    "paper_config",
    "read_batches",
    "read_roi",
    "save_bank",
    "synthetic_bank",
    "watch_source",
]

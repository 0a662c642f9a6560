"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BankArgument = Annotated[Path, typer.Argument(metavar="BANK", help="A bank made by fapm build.")]
PathsArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...", help="Pictures and folders (searched through); - reads paths from stdin."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BatchSizeOption = Annotated[int, typer.Option(min=1, max=4096, help="Pictures at a time.")]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|random",
        help="Backbone weights: a safetensors or state-dict file, or random (speed tests).",
    ),
]
PresetOption = Annotated[
    str, typer.Option(help="default: the whole picture; paper: the paper to the letter.")
]
BackboneOption = Annotated[
    str | None, typer.Option(help="efficientnet_lite0 (the default), or any torchvision ResNet.")
]
LayersOption = Annotated[str | None, typer.Option(metavar="L,L", help="Layers to tap.")]
SeedOption = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="For --weights random.")]
SizeOption = Annotated[str | None, typer.Option(metavar="N|HxW", help="Input size, px.")]
GridOption = Annotated[str | None, typer.Option(metavar="N|HxW", help="Patches a side.")]
RatioOption = Annotated[float, typer.Option(help="Share of vectors kept as keys.")]
SpreadOption = Annotated[float, typer.Option(help="D_th: patches that spread more keep twice.")]
NeighborsOption = Annotated[
    int | None, typer.Option(help="Nearest keys averaged into a score (default: the bank's).")
]
LayerWeightsOption = Annotated[
    str | None, typer.Option(metavar="W,W", help="One weight per layer (default: the bank's).")
]
SigmaOption = Annotated[
    float | None, typer.Option(help="Blur of the anomaly map, input px (default: the bank's).")
]
ReachOption = Annotated[
    int | None,
    typer.Option(help="Also search patches this far around a vector's own (default: the bank's)."),
]

CalibrationOption = Annotated[
    str | None,
    typer.Option(
        metavar="local|none",
        help="Judge scores against what good parts do at their place (default: the bank's).",
    ),
]

PrecisionOption = Annotated[
    str,
    typer.Option(metavar="auto|fp32|bf16|fp16|int8", help="auto is the fastest proven equal here."),
]
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Compile first, once: pays with int8 on a CPU."),
]

RoiOption = Annotated[
    Path | None,
    typer.Option(metavar="MASK", help="A picture: white is inspected, black ignored."),
]
PixelThresholdOption = Annotated[
    float | None,
    typer.Option(help="Map value above which a px belongs to a region (default: the bank's)."),
]

GroupOption = Annotated[
    str | None,
    typer.Option(
        metavar="folder|PATTERN",
        help="What tells parts of which there are several shots: their folder, or a regular "
        "expression whose first group (or all of it) names the part in a picture's name "
        "(default: near twins are found).",
    ),
]
FalseAlarmsOption = Annotated[
    float | None,
    typer.Option(
        "--false-alarm-rate",
        metavar="R",
        help="Set the threshold so that this share of good pictures exceeds it.",
    ),
]
ReviewOption = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help="Band for a second look: this share of good pictures is in it, or anomalous.",
    ),
]

"""Arguments and options that several commands have, each with the topic it stands under in help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fapm_cli.commands.formats import FORMATS

PICTURES = "Pictures"
OUTPUT = "Output"
SINKS = "Sinks"
VERDICTS = "Verdicts"
LEARNING = "What is learnt"
SCORING = "How it is scored"
MACHINE = "How it is computed"
TOPICS = (PICTURES, OUTPUT, SINKS, VERDICTS, LEARNING, SCORING, MACHINE)  # in the order of help

BankArgument = Annotated[Path, typer.Argument(metavar="BANK", help="A bank made by fapm build.")]


def format_option(formats: Sequence[str]) -> Any:
    """Make the option that chooses one of a command's formats."""
    return typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"{', '.join(formats[:-1])} or {formats[-1]}.",
        autocompletion=lambda: list(formats),
        rich_help_panel=OUTPUT,
    )


FormatOption = Annotated[str, format_option(FORMATS)]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Short for --format json.", rich_help_panel=OUTPUT)
]
DeviceOption = Annotated[
    str, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:N.", rich_help_panel=MACHINE)
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        metavar="N",
        help="CPU threads (default: one for each CPU that fapm may use).",
        rich_help_panel=MACHINE,
    ),
]
BatchSizeOption = Annotated[
    int,
    typer.Option(min=1, max=4096, metavar="N", help="Pictures at a time.", rich_help_panel=MACHINE),
]
_ON = "Let a cluster do the work: ray, started here, or ray://HOST:PORT (pip install 'fapm[ray]')."
OnOption = Annotated[
    str | None, typer.Option("--on", metavar="CLUSTER", help=_ON, rich_help_panel=MACHINE)
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="The backbone's weights (safetensors or a state dict), or random, for speed tests.",
        rich_help_panel=MACHINE,
    ),
]
PresetOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="default (the whole picture), or paper (to the letter).",
        rich_help_panel=LEARNING,
    ),
]
_BACKBONE = "efficientnet_lite0 (default), dinov2_small, dinov2_base, or any torchvision ResNet."
BackboneOption = Annotated[
    str | None, typer.Option(metavar="NAME", help=_BACKBONE, rich_help_panel=LEARNING)
]
LayersOption = Annotated[
    str | None, typer.Option(metavar="L,L", help="Layers of it to tap.", rich_help_panel=LEARNING)
]
SeedOption = Annotated[
    int,
    typer.Option(
        min=0, max=2**63 - 1, metavar="N", help="For --weights random.", rich_help_panel=LEARNING
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW",
        help="The input's size in px; N: its shorter side, the pictures' shape (default: 224).",
        rich_help_panel=LEARNING,
    ),
]
GridOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|HxW",
        help="Patches a side (default: of 32 px each); the input is then square, or as --size "
        "HxW says.",
        rich_help_panel=LEARNING,
    ),
]
RatioOption = Annotated[
    float,
    typer.Option(metavar="SHARE", help="Share of vectors kept as keys.", rich_help_panel=LEARNING),
]
_MOST = "Most keys of a patch, of a wide one twice that (default: 512; 0, and paper: no limit)."
MaxKeysOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help=_MOST, rich_help_panel=LEARNING)
]
SpreadOption = Annotated[
    float,
    typer.Option(
        metavar="D",
        help="D_th: patches that spread more keep twice as many.",
        rich_help_panel=LEARNING,
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        metavar="own|plain",
        help="own: each patch measures by how much good parts vary there, as far as that finds "
        "more (default: own; paper: plain).",
        rich_help_panel=LEARNING,
    ),
]
TurnOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|none|DEGREES",
        help="Learn copies turned by its multiples, too. auto: where few pictures show parts that "
        "lie at any angle (the default; paper: none).",
        rich_help_panel=LEARNING,
    ),
]
AlignOption = Annotated[
    str | None,
    typer.Option(
        metavar="none|shift|rigid",
        help="Move each picture so that its part lies where the good ones do, before it is looked "
        "at. shift: parts lie shifted by up to a tenth; rigid: and turned by up to 5 degrees "
        "(default: none).",
        rich_help_panel=LEARNING,
    ),
]
_NEIGHBORS = "Nearest keys averaged into a score (default: the bank's)."
NeighborsOption = Annotated[
    int | None, typer.Option(metavar="K", help=_NEIGHBORS, rich_help_panel=SCORING)
]
_WEIGHTS = "One weight per layer (default: the bank's)."
LayerWeightsOption = Annotated[
    str | None, typer.Option(metavar="W,W", help=_WEIGHTS, rich_help_panel=SCORING)
]
SigmaOption = Annotated[
    float | None,
    typer.Option(
        metavar="PX",
        help="Blur of the anomaly map, in input px (default: the bank's).",
        rich_help_panel=SCORING,
    ),
]
_REACH = "Also search patches this far around a vector's own (default: the bank's)."
ReachOption = Annotated[int | None, typer.Option(metavar="N", help=_REACH, rich_help_panel=SCORING)]

CalibrationOption = Annotated[
    str | None,
    typer.Option(
        metavar="local|none",
        help="Judge scores against what good parts do at their place (default: the bank's).",
        rich_help_panel=SCORING,
    ),
]

LightOption = Annotated[
    str | None,
    typer.Option(
        metavar="corrected|as-is",
        help="Bring a picture in a light that no good one had back to theirs, and say so (default: "
        "the bank's). as-is: where brightness or colour is what can be wrong.",
        rich_help_panel=SCORING,
    ),
]

PrecisionOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="auto (fp32 on a CPU, fp16 on CUDA), fp32, bf16 or fp16.",
        rich_help_panel=MACHINE,
    ),
]
_ENGINE = "auto, openvino (on a CPU; the fastest there) or torch."
EngineOption = Annotated[str, typer.Option(metavar="NAME", help=_ENGINE, rich_help_panel=MACHINE)]
_COMPILE = "Have torch compile first, which takes half a minute."
CompileOption = Annotated[bool, typer.Option("--compile", help=_COMPILE, rich_help_panel=MACHINE)]

RoiOption = Annotated[
    Path | None,
    typer.Option(
        metavar="MASK",
        help="A picture: white is inspected, black ignored.",
        rich_help_panel=PICTURES,
    ),
]
PixelThresholdOption = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        help="A px whose map value is above it belongs to a region (default: the bank's).",
        rich_help_panel=VERDICTS,
    ),
]

GroupOption = Annotated[
    str | None,
    typer.Option(
        metavar="folder|PATTERN",
        help="What tells parts of which there are several shots: their folder, or a regular "
        "expression whose first group (or all of it) names the part in a picture's name "
        "(default: near twins are found).",
        rich_help_panel=PICTURES,
    ),
]

FalseAlarmsOption = Annotated[
    float | None,
    typer.Option(
        "--false-alarm-rate",
        metavar="R",
        help="Set the threshold so that this share of good pictures exceeds it.",
        rich_help_panel=VERDICTS,
    ),
]
ReviewOption = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help="Band for a second look: this share of good pictures is in it, or anomalous.",
        rich_help_panel=VERDICTS,
    ),
]

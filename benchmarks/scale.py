r"""Time and memory of builds of many pictures, as the kernel tells them; and how keys grow.

python benchmarks/scale.py FOLDER --pictures 500,2000,20000 --at /var/tmp/copies \
    --options --memory 3GB

The pictures are those of a folder, and copies of them: shifted by up to 2 % of each side, exposed
0.9 to 1.1 times as long, and saved as JPEG of quality 75 to 95. Memory is read every 20 ms from
/proc/PID/status: RssAnon, which is the program's own, apart from what the kernel holds of files for
it and can drop (RssFile); VmHWM is the kernel's high-water mark of both.

python benchmarks/scale.py --plan 1e3,1e5,10e6 --parts 1,1000 --price 0.05

What so many pictures of so many kinds of parts, each with a bank of its own, take step by step: a
model of the constants below (benchmarks/scale_plan.py).

python benchmarks/scale.py --plot docs/scale.png

Draws what was measured, the lines of benchmarks/scale_measured.jsonl (written by --record FILE),
beside that model and what a build foresees.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image, ImageEnhance
from scale_plan import plot, print_plan

_SIDE_PX = 256
_MEASURED = Path(__file__).with_name("scale_measured.jsonl")
_SHIFT, _LIGHT, _QUALITY = 0.02, (0.9, 1.1), (75, 95)


def copies(sources: list[Path], folder: Path, number: int, side_px: int = _SIDE_PX) -> None:
    """Write pictures and copies of them, as above: those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        file = folder / f"{i:06}.jpg"
        if file.exists():
            continue
        draw = random.Random(i)
        small = _small(sources[i % len(sources)], side_px)
        if i >= len(sources):
            x, y = (draw.uniform(-_SHIFT, _SHIFT) * side for side in small.size)
            wide = Image.new("RGB", small.size, small.getpixel((0, 0)))
            wide.paste(small)
            small = wide.transform(
                small.size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y), Image.Resampling.BILINEAR
            )
            small = ImageEnhance.Brightness(small).enhance(draw.uniform(*_LIGHT))
        small.save(file, quality=draw.randint(*_QUALITY) if i >= len(sources) else 95)


@functools.lru_cache(maxsize=1000)
def _small(source: Path, side_px: int) -> Image.Image:
    with Image.open(source) as picture:
        whole = picture.convert("RGB")
    scale = side_px / min(whole.size)
    return whole.resize((round(whole.width * scale), round(whole.height * scale)))


def watch(process: subprocess.Popen[str]) -> dict[str, float]:
    """Largest RssAnon and VmHWM, in MB of 10⁶ bytes, until a process ends."""
    most = {"RssAnon": 0.0, "VmHWM": 0.0}
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            text = status.read_text()
        except OSError:
            break
        for name in most:
            found = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
            if found is not None:
                most[name] = max(most[name], int(found[1]) * 1024 / 1e6)
        time.sleep(0.02)
    return most


def _cpu_seconds() -> float:
    """What processes that ended have worked: it tells more than a clock where others work too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Build banks of more and more pictures, and print a line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", help="Pictures of good parts.")
    parser.add_argument("--pictures", default="200,2000")
    parser.add_argument("--at", type=Path, help="Where copies are made.")
    parser.add_argument(
        "--plan", help="Numbers of pictures: say what they take, and build nothing."
    )
    parser.add_argument("--plot", type=Path, help="A PNG to draw, and build nothing.")
    parser.add_argument("--record", type=Path, help="Where measured lines are added, or drawn from")
    parser.add_argument("--parts", default="1,1000", help="Kinds of parts they are of.")
    parser.add_argument("--price", type=float, default=0.05, help="Of a core hour.")
    parser.add_argument("--picture-mb", type=float, default=0.3, help="Of a picture's file.")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="Of fapm build.")
    asked = parser.parse_args()
    if asked.plot is not None:
        asked.plot.write_bytes(plot((asked.record or _MEASURED).read_text()))
        return
    if asked.plan is not None:
        numbers, parts = ([float(n) for n in t.split(",")] for t in (asked.plan, asked.parts))
        print_plan([*map(int, numbers)], [*map(int, parts)], asked.price, asked.picture_mb)
        return
    if asked.folder is None or asked.at is None:
        parser.error("give a folder and --at, or --plan")
    sources = sorted(path for path in asked.folder.iterdir() if path.is_file())
    print("pictures  seconds  CPU s  CPU ms/picture  RssAnon MB  VmHWM MB    keys  bank MB  stages")
    for number in map(int, asked.pictures.split(",")):
        copies(sources, asked.at / "all", number)
        listed = "".join(f"{asked.at}/all/{i:06}.jpg\n" for i in range(number))
        bank = asked.at / f"{number}.st"
        stages = asked.at / f"{number}.json"
        fapm = [str(Path(__file__).with_name("scale_stages.py")), str(stages)]
        build = [*fapm, "build", "-", "-o", str(bank), "--json", "--keep-suspects"]
        begun, before = time.perf_counter(), _cpu_seconds()
        with subprocess.Popen(
            [sys.executable, *build, *asked.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(listed)
            process.stdin.close()
            most = watch(process)
            told = process.stdout.read()
        seconds, worked = time.perf_counter() - begun, _cpu_seconds() - before
        if process.returncode:
            sys.exit(f"{number} pictures: exit code {process.returncode}")
        summary = json.loads(told)
        keys = sum(layer["keys"] for layer in summary["layers"].values())
        found = json.loads(stages.read_text())
        print(
            f"{number:8}{seconds:9.0f}{worked:7.0f}{1000 * worked / number:16.1f}"
            f"{most['RssAnon']:12.0f}{most['VmHWM']:10.0f}{keys:8}{summary['bytes'] / 1e6:9.1f}"
            f"  {found}",
            flush=True,
        )
        if asked.record is not None:
            line = {"pictures": number, "cpu": round(worked), **most, "keys": keys, **found}
            with asked.record.open("a") as file:
                file.write(json.dumps(line | {"bytes": summary["bytes"]}) + "\n")


if __name__ == "__main__":
    main()

"""Measure pictures as they come: latency of a watched folder, and frames per second of a video.

Usage: python benchmarks/live.py BANK

Latency: from the moment a finished 640×480 picture is renamed into the folder until its record can
be read, over 30 pictures at random moments, in another process. Video: 300 frames of 640×480, MJPG,
as decoding alone, the engine alone on decoded frames, and both as `fapm score` runs them.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from fapm_cli.bank.file import load_bank
from fapm_cli.compute.plan import make_plan
from fapm_cli.compute.timing import alternate
from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import judge
from fapm_cli.sources.source import files_source
from fapm_cli.sources.video import video_frames

SAMPLE = Path(__file__).parents[1] / "samples" / "test" / "good" / "000.jpg"
FRAMES, PICTURES = 300, 30


def picture() -> np.ndarray:
    """A sample picture of 640×480."""
    pixels = cv2.imread(str(SAMPLE))
    assert pixels is not None
    return cv2.resize(pixels, (640, 480))


def latencies_ms(bank: Path, folder: Path) -> list[float]:
    """Times from rename to record, after one picture to warm up."""
    watched = folder / "watched"
    watched.mkdir()
    encoded = cv2.imencode(".jpg", picture())[1].tobytes()
    command = [sys.executable, "-m", "fapm_cli", "score", bank, "--watch", watched]
    arguments = [*map(str, command), "--format", "jsonl", "--limit", str(PICTURES + 1)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        times = []
        for number in range(PICTURES + 1):
            part = folder / f"{number}.part"
            part.write_bytes(encoded)
            time.sleep(random.random() / 2)
            start = time.perf_counter()
            os.replace(part, watched / f"{number}.jpg")
            process.stdout.readline()
            times.append((time.perf_counter() - start) * 1000)
    return times[1:]


def video_rates(bank: Path, clip: Path) -> dict[str, list[float]]:
    """Frames per second, three rounds in turns, of decoding, of the engine, and of both."""
    detector = Detector(load_bank(bank), plan=make_plan(torch.device("cpu")))
    frames = list(video_frames(clip))
    assert len(frames) == FRAMES
    works = {
        "decode": lambda: list(video_frames(clip)),
        "engine": lambda: list(judge(detector, frames, 8)),
        "whole": lambda: list(judge(detector, files_source([clip]).items, 8)),
    }
    times = alternate(works, detector.device, warm_up=0, runs=3)
    return {name: [FRAMES / ms * 1000 for ms in spent] for name, spent in times.items()}


def main() -> None:
    """Measure, and print a line for each thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bank", type=Path)
    bank = parser.parse_args().bank
    folder = Path(tempfile.mkdtemp())
    try:
        for _ in range(3):
            times = np.array(latencies_ms(bank, Path(tempfile.mkdtemp(dir=folder))))
            print(f"watch  median {np.median(times):.0f} ms  p95 {np.percentile(times, 95):.0f} ms")
        clip = folder / "clip.avi"
        writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
        for _ in range(FRAMES):
            writer.write(picture())
        writer.release()
        for name, rates in video_rates(bank, clip).items():
            print(f"{name:<6} median {np.median(rates):.1f} FPS  {np.round(np.sort(rates), 1)}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

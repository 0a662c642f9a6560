"""Banks from a program: loaded, saved, described, laid out on a device, calibrated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fapm_cli.api.detector import Detector
from fapm_cli.api.listener import Listener
from fapm_cli.api.pictures import GoodPictures, Pictures, named, part_namer
from fapm_cli.bank import bank as learnt
from fapm_cli.bank.describe import describe
from fapm_cli.bank.file import read_bank, save_bank
from fapm_cli.drift.drift import ALPHA, Drift
from fapm_cli.drift.reference import reference_of
from fapm_cli.engines.opening import open_judge
from fapm_cli.errors import OptionError
from fapm_cli.pictures.reading import read_roi
from fapm_cli.scores.aim import Aim, check_finite
from fapm_cli.scores.thresholds import Thresholds

if TYPE_CHECKING:
    from fapm_cli.network.extraction import FeatureExtractor


@dataclass(frozen=True, repr=False)
class Bank:
    """What was learnt from pictures of good parts: of :func:`build`, :func:`load` and others.

    Attributes:
        learnt: all of it: configuration, memories, calibration, thresholds, pictures.
    """

    learnt: learnt.Bank
    _backbone: FeatureExtractor | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Say in one line what it is."""
        pictures, backbone = len(self.learnt.pictures), self.learnt.config.backbone
        return f"<Bank of {pictures} pictures, {backbone}: {self.thresholds.describe()}>"

    @property
    def thresholds(self) -> Thresholds:
        """Where verdicts change, and what that costs in false alarms."""
        return self.learnt.thresholds

    @property
    def num_full_patches(self) -> int:
        """How many patches of all layers ``max_keys`` ends, though they are wide: more may help."""
        from fapm_cli.learning.selecting import num_full

        return num_full(self.learnt)

    def save(self, path: str | Path) -> int:
        """Write the bank to a file; a bank that is there is replaced whole.

        Returns:
            The file's size in bytes.

        Raises:
            OutputError: it can't be written; what was there before still is.
        """
        return save_bank(self.learnt, path)

    def describe(self) -> dict[str, Any]:
        """All but keys, weights and pixels as plain values, as ``fapm info --json`` shows it."""
        return describe(self.learnt)

    def detector(
        self,
        device: str = "auto",
        precision: str = "auto",
        *,
        weights: str | Path | None = None,
        roi: str | Path | None = None,
        threshold: float | None = None,
        pixel_threshold: float | None = None,
        compiled: bool = False,
        engine: str = "auto",
        **query: Any,
    ) -> Detector:
        """Lay the bank out on a device.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``auto``, ``fp32`` or another that ``fapm score --help`` names.
            weights: a file in place of the bank's own backbone.
            roi: a mask of what to inspect, white on black.
            threshold: an image score above it is anomalous, in place of the bank's own.
            pixel_threshold: a map's value above which a px belongs to a region, likewise.
            compiled: whether to compile the network, as ``--compile`` does.
            engine: ``auto``, ``openvino`` or ``torch``; ``auto`` is OpenVINO on a CPU, without
                torch, and torch where OpenVINO can't do what is asked.
            query: how to score, in place of the bank's own way: ``reach``, ``sigma``,
                ``num_neighbors`` and the other fields of :class:`fapm_cli.Query`.

        Raises:
            DeviceError, OptionError, PictureError, WeightsError: an argument can't be had, or makes
                no sense.
        """
        check_finite("threshold", threshold)
        check_finite("threshold", pixel_threshold)
        if pixel_threshold is not None and pixel_threshold < 0:
            raise OptionError(f"pixel threshold {pixel_threshold}: wanted 0 or more")
        own = self.learnt.config
        ready = open_judge(
            self.learnt,
            device,
            precision,
            engine=engine,
            extractor=self._backbone,
            weights=None if weights is None else str(weights),
            compiled=compiled,
            query=own.with_query(**query).query,
            roi=None if roi is None else read_roi(roi, own.preprocessing),
            pixel_threshold=pixel_threshold,
        )
        return Detector(ready, threshold)

    def calibrate(
        self,
        good: GoodPictures | None = None,
        bad: Pictures | None = None,
        *,
        aim: Aim | None = None,
        max_false_alarm_rate: float | None = None,
        allow_few: bool = False,
        keep_suspects: bool = False,
        group: str | None = None,
        detector: Detector | None = None,
        batch_size: int = 8,
        listener: Listener | None = None,
    ) -> Bank:
        """Set the thresholds anew; what was learnt stays as it is.

        From good pictures alone it keeps the bank's false-alarm rate, unless told another. With
        bad ones it sets the threshold where the rates of misses and false alarms have the least
        sum.

        Args:
            good: pictures of good parts that the bank does not hold; None for its own.
            bad: of defective ones.
            aim: what verdicts aim at, in place of either.
            max_false_alarm_rate: allow no higher rate, whatever the rest comes to.
            allow_few: whether to take fewer good pictures than the rate needs.
            keep_suspects: whether to take good pictures that look unlike the rest.
            group: what tells parts of which there are several shots: ``folder``, or a regular
                expression for names; None to find near twins.
            detector: of this bank, that judges the pictures; None for one as it comes.
            batch_size: pictures at a time.
            listener: told of what goes on, and of what is left out.

        Raises:
            OptionError: nothing sets the thresholds, or two arguments both do.
            PictureError: a picture can't be read, or the good ones are too few, or unlike.
        """
        from fapm_cli.api.calibration import calibrated, check_task

        aim = aim or Aim()
        check_task(good, bad, aim, max_false_alarm_rate)
        judge = None
        if good is not None or bad is not None:
            judge = (detector or self.detector()).engine
        return Bank(
            calibrated(
                self.learnt,
                judge,
                None if good is None else named(good),
                None if bad is None else [item for item, _ in named(bad, "defective")],
                aim,
                max_false_alarm_rate=max_false_alarm_rate,
                allow_few=allow_few,
                keep_suspects=keep_suspects,
                part_of=part_namer(group),
                batch_size=batch_size,
                listener=listener or Listener(),
            ),
            self._backbone,
        )

    def drift(self, *, alpha: float = ALPHA) -> Drift:
        """Follow records of pictures that this bank judges, compared with its good parts.

        Args:
            alpha: the share of streams without a change that may ever have an alarm.

        Raises:
            OptionError: ``alpha`` is no such share.
            BankError: a thumbnail is damaged.
        """
        return Drift(reference_of(self.learnt), alpha=alpha)

    def export(self, path: str | Path, **ask: Any) -> dict[str, Any]:
        """Write the bank as one ONNX file, proven to find what fapm does (docs/deployment.md).

        Args:
            path: of the file.
            ask: as for :func:`fapm_cli.exporting.export.export_bank`: ``batch``, ``half``,
                ``opset``, ``as_is``, ``any_size``, ``weights``.

        Returns:
            What was made, and by how much each engine differs, as plain values.

        Raises:
            OptionError, BankError, ModelError, OutputError: it can't be made, differs, or can't be
                written; nothing was written then.
        """
        from fapm_cli.exporting.export import export_bank

        return export_bank(self.learnt, path, **ask)

    def verify(self, path: str | Path, weights: str | None = None) -> dict[str, Any]:
        """Prove an exported file again: that it is of this bank, and finds what fapm does.

        Returns:
            As :meth:`export`.

        Raises:
            ModelError: it is missing, something else, changed, of another bank, or differs.
        """
        from fapm_cli.exporting.export import verify_file

        return verify_file(path, self.learnt, weights=weights)

    def undo_calibration(self) -> Bank:
        """Go back to the thresholds before the last change.

        Raises:
            BankError: there are none.
        """
        from fapm_cli.api.calibration import undone

        return Bank(undone(self.learnt), self._backbone)


def load(path: str | Path) -> Bank:
    """Read a bank from its file.

    Raises:
        BankError: the file is missing, damaged, no bank, or of a later format version.
    """
    return Bank(read_bank(path))

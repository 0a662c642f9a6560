"""GenICam cameras (GigE Vision, USB3 Vision, ...) by harvesters, as cv2.VideoCapture has others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fapm_cli.errors import DeviceError
from fapm_cli.packages import need, reason_of

SCHEME = "genicam:"
_LOOK_S = 0.5  # after so long without a frame read() says so
# What a px of a format becomes; OpenCV names a mosaic by its second row, GenICam by its first.
_TO_BGR = {
    "Mono8": cv2.COLOR_GRAY2BGR,
    "RGB8": cv2.COLOR_RGB2BGR,
    "BGR8": None,
    "RGBa8": cv2.COLOR_RGBA2BGR,
    "BGRa8": cv2.COLOR_BGRA2BGR,
    "BayerRG8": cv2.COLOR_BayerBG2BGR,
    "BayerBG8": cv2.COLOR_BayerRG2BGR,
    "BayerGR8": cv2.COLOR_BayerGB2BGR,
    "BayerGB8": cv2.COLOR_BayerGR2BGR,
}
_NAMES = ("serial_number", "id_", "user_defined_name")


def address_of(camera: str) -> tuple[Path, str]:
    """The GenTL producer's file and the device of ``genicam:PRODUCER#DEVICE``.

    Raises:
        DeviceError: it is no such text.
    """
    producer, _, device = camera.removeprefix(SCHEME).partition("#")
    if not camera.startswith(SCHEME) or not producer:
        raise DeviceError(
            f"camera {camera!r}: wanted a number, or {SCHEME}PRODUCER.cti#SERIAL for GenICam"
        )
    return Path(producer), device


class GenicamCamera:
    """A camera that is open, and gives frames as they come."""

    def __init__(self, camera: str):
        """Open it.

        Args:
            camera: ``genicam:PRODUCER#DEVICE``: the maker's GenTL producer, a ``.cti`` file; and
                the device by serial number, id or name, to be left out where there is but one.

        Raises:
            DeviceError: the producer can't be loaded, has no such device, or it is in use.
            OptionError: the package is missing.
        """
        file, device = address_of(camera)
        if not file.is_file():
            raise DeviceError(f"GenTL producer {file} is not there: name the maker's .cti file")
        self._producer = _Producer.of(file)
        self.name, self._acquirer = self._producer.open(device)
        try:
            kind = self._acquirer.remote_device.node_map.PixelFormat.value
            if kind not in _TO_BGR:
                raise DeviceError(
                    f"camera {self.name} gives {kind}: set its PixelFormat to one of "
                    f"{', '.join(_TO_BGR)}"
                )
            self._acquirer.start()
        except BaseException as error:
            self.release()
            if isinstance(error, Exception) and not isinstance(error, DeviceError):
                raise DeviceError(f"camera {self.name} can't start: {reason_of(error)}") from error
            raise

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """The next frame, (height, width, 3) BGR; None where none came for a while.

        Raises:
            Exception: the camera is gone, or as harvesters says.
        """
        buffer = self._acquirer.try_fetch(timeout=_LOOK_S)
        if buffer is None:
            return True, None
        with buffer:
            return True, bgr_of(buffer.payload.components[0])

    def release(self) -> None:
        """Close it."""
        self._producer.close(self._acquirer)


class _Producer:
    """A producer's file, loaded once in a process: none can be loaded twice."""

    _loaded: ClassVar[dict[Path, _Producer]] = {}
    _loading: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, file: Path):
        self._harvester = need("harvesters.core", "genicam").Harvester()
        self._file, self._open, self._lock = file, list[Any](), threading.Lock()
        self._harvester.add_file(str(file))

    @classmethod
    def of(cls, file: Path) -> _Producer:
        file = file.resolve()
        with cls._loading:
            if file not in cls._loaded:
                cls._loaded[file] = cls(file)
            return cls._loaded[file]

    def open(self, device: str) -> tuple[str, Any]:
        """Open a device; its name and what acquires pictures."""
        with self._lock:
            try:
                if not self._open:  # to look again takes open ones away
                    self._harvester.update()
                infos = [one.property_dict for one in self._harvester.device_info_list]
                if not infos:
                    raise DeviceError(
                        f"{self._file} finds no camera: is it a GenTL producer, and one plugged in?"
                    )
                found = [n for n, info in enumerate(infos) if _is(info, device)]
                if len(found) != 1:
                    there = ", ".join(str(info.get("serial_number")) for info in infos)
                    raise DeviceError(
                        f"{self._file}, camera {device!r}: name one by its serial number, after #; "
                        f"there are {there}"
                    )
                with ThreadPoolExecutor(1) as thread:  # in the main one it would take Ctrl-C
                    acquirer = thread.submit(self._harvester.create, found[0]).result()
            except DeviceError:
                raise
            except Exception as error:  # of harvesters, GenTL and GenApi
                said = reason_of(error)
                raise DeviceError(
                    f"{self._file}, camera {device!r}: {said}; is it free?"
                ) from error
            self._open.append(acquirer)
            info = infos[found[0]]
            return str(info.get("serial_number") or info.get("id_")), acquirer

    def close(self, acquirer: Any) -> None:
        with self._lock:
            if acquirer in self._open:
                self._open.remove(acquirer)
                acquirer.destroy()


def _is(info: dict[str, Any], device: str) -> bool:
    return not device or device in (info.get(name) for name in _NAMES)


def bgr_of(component: Any) -> NDArray[np.uint8]:
    """A frame's px, (height, width, 3) BGR uint8, copied out of the camera's buffer.

    Raises:
        DeviceError: its format is none that is read.
    """
    kind, height, width = component.data_format, component.height, component.width
    if kind not in _TO_BGR:
        raise DeviceError(f"a frame of format {kind}")
    channels = {"Mono": 1, "Baye": 1}.get(kind[:4], 4 if "a8" in kind else 3)
    rows = np.asarray(component.data, np.uint8).reshape(height, -1)[:, : width * channels]
    px = rows.reshape((height, width) + (channels,) * (channels > 1))
    code = _TO_BGR[kind]
    return np.array(px) if code is None else np.asarray(cv2.cvtColor(px, code), np.uint8)

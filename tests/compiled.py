"""Graphs that OpenVINO compiled once, for all commands of a test process that run the same again.

To compile a bank's graph takes longer than all else that a small command does.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fapm_cli.packages import need

openvino = need("openvino")
_MOST = 8  # held at a time, the newest
_Key = tuple[str, ...]


class Graphs:
    """What was compiled, by the graph and how it was asked for.

    Each is lent to one judge of one command at a time: two that first run side by side may wait for
    each other for ever.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: dict[_Key, Any] = {}
        self._lending, self._lent, self._lock = False, set[_Key](), threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Lend them to a command, unless another is at work."""
        if self._lending:
            yield
            return
        self._lending = True
        read, compile_model = openvino.Core.read_model, openvino.Core.compile_model

        def named(core: Any, model: Any, *more: Any) -> Any:
            found: Any = read(core, model, *more)
            if isinstance(model, io.BytesIO):
                found.digest = hashlib.sha256(model.getvalue()).hexdigest()
            return found

        def compiled(core: Any, model: Any, device: str, config: dict[str, Any]) -> Any:
            key = (getattr(model, "digest", ""), device, *map(str, sorted(config.items())))
            if not key[0] or not self._lend(key):
                return compile_model(core, model, device, config)
            if key not in self._held:
                self._keep(key, compile_model(core, model, device, config))
            return self._held[key]

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(openvino.Core, "read_model", named)
                patch.setattr(openvino.Core, "compile_model", compiled)
                yield
        finally:
            self._lending = False
            self._lent.clear()

    def _lend(self, key: _Key) -> bool:
        """Whether nobody has it."""
        with self._lock:
            if key in self._lent:
                return False
            self._lent.add(key)
            return True

    def _keep(self, key: _Key, found: Any) -> None:
        self._held[key] = found
        for old in [one for one in self._held if one not in self._lent][: len(self._held) - _MOST]:
            del self._held[old]

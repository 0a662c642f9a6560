"""A cluster: pure work done on several machines, which Ray schedules, and moves data for.

A worker must give what this machine would, to the last bit: it is told how many threads to compute
in, and asked for the same versions and the same kind of processor. A task whose worker or machine
dies is done again, and so is what it had made that is still needed.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar

from fapm_cli.compute.cores import allowed_cores
from fapm_cli.compute.worker import TORCH, each, run, terms_here
from fapm_cli.errors import ClusterError, FapmError, OptionError
from fapm_cli.packages import need

T = TypeVar("T")
R = TypeVar("R")

_SCHEME = "ray://"
_RETRIES = 5  # of a task whose worker died: one that always kills its worker must end
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would tell its maker's server
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "5",  # tried three times
    "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "5",
}


class Cluster:
    """A cluster that this process is connected to."""

    def __init__(self, ray: Any, engine: str = TORCH):
        """Take what is connected.

        Args:
            ray: connected.
            engine: the package that computes there, of which all need the same version.

        Raises:
            ClusterError: none of its machines has as many cores as a task computes in threads.
        """
        self._ray, self._terms = ray, terms_here(engine)
        threads = self._terms["threads"]
        cores = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        self.num_machines = sum(1 for number in cores if number >= threads)
        if not self.num_machines:
            raise ClusterError(
                f"no machine of the cluster has {threads} cores, in which each task computes "
                f"(the largest has {max(cores, default=0):.0f}): give fewer --threads"
            )
        self.num_workers = sum(int(number // threads) for number in cores)
        self.most_waiting = 2 * self.num_workers
        self._task = ray.remote(run)

    def by(self, engine: str) -> Cluster:
        """The same, for work of another engine; raises as at first."""
        return self if engine == self._terms["engine"] else Cluster(self._ray, engine)

    def place(self, work: Callable[[T], R]) -> Any:
        """Put work where all workers find it; each takes it once, as long as it does no other."""
        with _told(self._ray):
            return [self._ray.put(work)]

    def start(self, placed: Any, item: object, num_returns: int = 1) -> Any:
        """Have placed work done on an item: a reference to what it gives, or several."""
        options = {
            "num_cpus": self._terms["threads"],
            "num_returns": num_returns,
            "max_retries": _RETRIES,
        }
        with _told(self._ray):
            return self._task.options(**options).remote(self._terms, placed, item)

    def get(self, reference: Any) -> Any:
        """What a task gave; waits for it.

        Raises:
            FapmError: as the work did.
            ClusterError: it could not be done.
        """
        with _told(self._ray):
            return self._ray.get(reference)

    def drop(self, references: Iterable[Any]) -> None:
        """Ask for some no longer."""
        for reference in references:
            try:
                self._ray.cancel(reference)
            except Exception:  # whatever it is, the work is over
                return

    def map(self, work: Callable[[T], R], items: Iterable[T], together: int = 1) -> Iterator[R]:
        """What pure work makes of each item, in their order; some are on their way at a time.

        Args:
            work: done by workers, so what it holds goes there.
            items: asked for one by one.
            together: items of a task.
        """
        placed = self.place(functools.partial(each, work))
        waiting: deque[Any] = deque()
        try:
            for some in _in_lists(items, together):
                waiting.append(self.start(placed, some))
                if len(waiting) >= self.most_waiting:
                    yield from self.get(waiting.popleft())
            while waiting:
                yield from self.get(waiting.popleft())
        finally:
            self.drop(waiting)


def _in_lists(items: Iterable[T], size: int) -> Iterator[list[T]]:
    some: list[T] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def check_address(on: str) -> None:
    """Check that it is ``ray``, or ``ray://HOST:PORT``.

    Raises:
        OptionError: it is not.
    """
    host, _, port = on.removeprefix(_SCHEME).rpartition(":")
    if on != "ray" and not (on.startswith(_SCHEME) and host and port.isdigit()):
        raise OptionError(f"--on {on!r}: write ray, or ray://HOST:PORT of a cluster's head")


def device_for(on: str | None, wanted: str) -> str:
    """The device to work on: a cluster's workers work on CPUs.

    Raises:
        OptionError: another is wanted of them.
    """
    if on is None:
        return wanted
    if wanted not in ("auto", "cpu"):
        raise OptionError(f"--device {wanted}: on a cluster, CPUs do the work; leave it out")
    return "cpu"


@contextmanager
def connected(on: str | None, engine: str = TORCH) -> Iterator[Cluster | None]:
    """Connect to a cluster, and leave it in the end.

    A program that is connected to one already stays connected to that.

    Args:
        on: ``ray``: one on this machine, with as many cores, ended with this; or
            ``ray://HOST:PORT``, a cluster's head; None for none.
        engine: as for :class:`Cluster`.

    Raises:
        OptionError: it is neither, or Ray is not installed.
        ClusterError: nothing answers there, or what answers does not fit.
    """
    if on is None:
        yield None
        return
    check_address(on)
    own = sys.stdout and _ButRays(sys.stdout)
    with redirect_stdout(own), started(on, allowed_cores()) as ray:
        yield Cluster(ray, engine)


@contextmanager
def started(on: str, num_cores: int) -> Iterator[Any]:
    """Ray, connected as :func:`connected` says, to so many cores where it begins here."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    ray = need("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {"address": on}
    if on == "ray":
        own = {"address": "local", "num_cpus": num_cores, "include_dashboard": False}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\b")
            try:
                ray.init(**own, log_to_driver=False, logging_level="ERROR")
            except Exception as error:  # it has many kinds of its own
                raise ClusterError(f"--on {on}: can't connect: {_reason(error)}") from error
            yield ray
    finally:
        ray.shutdown()


class _ButRays:
    """A standard output, which is data: what Ray's threads say of workers that died goes to the
    standard error, since there is no option for it.
    """

    def __init__(self, own: Any):
        """Take the standard output as it is."""
        self._own = own

    def __getattr__(self, name: str) -> Any:
        """Ask the one that is for this thread."""
        is_rays = threading.current_thread().name.startswith("ray_")
        return getattr(sys.stderr if is_rays else self._own, name)


@contextmanager
def _told(ray: Any) -> Iterator[None]:
    """Turn what Ray says of a task into what the work said, or into one line."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, FapmError):
            raise cause from None
        raise ClusterError(f"a worker failed: {_reason(cause or error)}") from error
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise ClusterError(f"the cluster failed: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What an error says, in one line that is not too long: its end, of a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    missing = [line for line in lines if "No module named" in line]
    if missing:
        return f"{missing[-1][-200:]}: install the same fapm there"
    named = [line for line in lines if "Error: " in line or "Exception: " in line]
    return (named[-1] if named else " ".join(lines))[:200] or type(error).__name__

"""``fapm`` in a process of its own, without the seconds that importing torch takes each time.

One process imports all that a program needs, once, and waits; each program is a fork of it, with
the caller's arguments, environment, folder and streams. What an interpreter settles when it starts
(encodings, number of threads, closed streams) is the first one's: tests of that start anew.

As a script, this file is such a program: ``python -SE forked.py ARGUMENTS``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable

ADDRESS = "FAPM_TESTS_FORK_AT"


class Program:
    """``fapm`` in a fork of the waiting process.

    Attributes:
        pid: its process.
    """

    def __init__(self, argv: list[str], first: str = ""):
        """Begin with these arguments, this process's folder, environment and streams.

        Args:
            argv: a name, and the arguments.
            first: Python that is run before.
        """
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(os.environ[ADDRESS])
            wanted = {"argv": argv, "cwd": os.getcwd(), "environ": dict(os.environ)}
            message = json.dumps({**wanted, "first": first}).encode()
            socket.send_fds(waiting, [len(message).to_bytes(4, "big")], [0, 1, 2])
            waiting.sendall(message)
            self._told = waiting.makefile()
        self.pid = int(self._told.readline())

    def wait(self) -> int:
        """Wait for its end, and say its exit code."""
        with self._told:
            return int(self._told.readline() or 70)


def serve(address: str) -> None:
    """Wait at an address for programs to be."""
    import rich.progress  # noqa: F401

    import fapm_cli.api.detector
    import fapm_cli.api.learning  # noqa: F401 - with all that they import
    from fapm_cli.cli import main, run

    run(["--version"])  # imports what reads options
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen()
        os.rename(f"{address}.new", address)  # whoever finds it is answered
        while True:
            caller, _ = server.accept()
            if os.fork() == 0:
                if os.fork() == 0:
                    _tell(caller, main)
                os._exit(0)
            os.wait()
            caller.close()


def _tell(caller: socket.socket, main: Callable[[], None]) -> None:
    """Run a program, and tell the caller its exit code, as a shell would."""
    size, streams, _, _ = socket.recv_fds(caller, 4, 3)
    wanted = json.loads(caller.makefile("rb").read(int.from_bytes(size, "big")))
    if (pid := os.fork()) == 0:
        caller.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        os.chdir(wanted["cwd"])
        os.environ.clear()
        os.environ.update(wanted["environ"])
        sys.argv = wanted["argv"]
        exec(wanted["first"])
        main()
    caller.sendall(b"%d\n" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    caller.sendall(b"%d\n" % (code if code >= 0 else 128 - code))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(Program(sys.argv).wait())

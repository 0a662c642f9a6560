"""Everything that can go wrong, as one tree.

::

    FapmError                exit code 2
    ├── OptionError          an option or argument that makes no sense
    ├── PictureError         a picture that can't be found, read or used
    ├── BankError            a bank that is missing, damaged, foreign or from the future
    ├── WeightsError         backbone weights that are missing, damaged or of another network
    ├── ModelError           an exported file that is missing, damaged, foreign or unlike its bank
    ├── DeviceError          a device that this machine does not have
    ├── ClusterError         a cluster that can't be reached, or lacks what work there takes
    └── OutputError          a file or folder that can't be written

A message is one line: what is wrong, the value seen, and what to do about it.
``fapm_cli.cli.main`` is the one place that turns these into a line on stderr and an exit code.
"""


class FapmError(Exception):
    """Root of every error that fapm raises on purpose."""


class OptionError(FapmError):
    """An option or argument has a value that can't be used."""


class PictureError(FapmError):
    """A picture is missing, unreadable or unusable."""


class BankError(FapmError):
    """A bank file is missing, damaged, foreign, too new, or does not fit its use."""


class WeightsError(FapmError):
    """Backbone weights are missing, damaged, or belong to another network."""


class ModelError(FapmError):
    """An exported file is missing, damaged, foreign, or does not find what its bank does."""


class DeviceError(FapmError):
    """The device asked for is not there."""


class ClusterError(FapmError):
    """A cluster can't be reached, or does not have what work on it takes."""


class OutputError(FapmError):
    """A result can't be written."""

"""The backbone that a bank was built with."""

from __future__ import annotations

from fapm_cli.bank.bank import OWN_WEIGHTS, Bank
from fapm_cli.bank.tensors import tensor
from fapm_cli.errors import BankError
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.network.loading import load_extractor


def bank_extractor(bank: Bank, weights: str | None = None) -> FeatureExtractor:
    """Load a bank's backbone: from a file if one is given, else the bank, else its own source.

    Raises:
        BankError: the bank holds no weights, and they came from a file.
        WeightsError: the weights can't be read or don't fit.
    """
    if weights is None and bank.backbone is None and bank.weights != OWN_WEIGHTS:
        raise BankError(
            f"the bank holds no backbone; it was built with weights {bank.weights!r}: "
            "give that file with --weights"
        )
    own = bank.backbone and {name: tensor(one) for name, one in bank.backbone.items()}
    extractor = load_extractor(bank.config, weights if weights is not None else own)
    if extractor.load is None and bank.weights == OWN_WEIGHTS:
        extractor.load = load_extractor
    return extractor

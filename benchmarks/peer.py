"""One peer, in the environment that peers.py makes: it learns and judges pictures as arrays.

Usage: ENVIRONMENT/bin/python benchmarks/peer.py METHOD FOLDER WEIGHTS

FOLDER has ``train.npy`` and ``test.npy``, (n, 224, 224, 3) uint8. Written there: ``scores.npy``
(n,), ``maps.npy`` (n, 224, 224) and ``peer.json`` (seconds to learn, ms for a picture at a time,
bytes learnt beside the backbone).

anomalib's torch models are fed here, without its Engine, which is a Lightning trainer around them:
PaDiM and PatchCore learn nothing by gradients, and CFlow's training step is short.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Judge = Callable[[Tensor], tuple[float, Tensor]]
Learnt = tuple[Judge, int]

LAYERS = ["layer1", "layer2", "layer3"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUM_TIMED = 20  # pictures, whose median time is taken
CFLOW_FIBERS, CFLOW_EPOCHS = 1024, 10  # at a time; anomalib's 64 and up to 50 take days on a CPU


def main() -> None:
    """Learn, judge, write."""
    method, folder, weights = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    torch.manual_seed(0)
    train, test = (np.load(folder / f"{name}.npy") for name in ("train", "test"))
    started = time.perf_counter()
    judge, num_bytes = METHODS[method](_tensor(train), torch.load(weights, weights_only=True))
    build_seconds = time.perf_counter() - started
    scores, maps, seconds = [], [], []
    for picture in test:
        given = _tensor(picture[None])
        started = time.perf_counter()
        score, anomaly_map = judge(given)
        seconds.append(time.perf_counter() - started)
        scores.append(score)
        maps.append(anomaly_map.reshape(picture.shape[:2]).numpy())
    np.save(folder / "scores.npy", np.array(scores))
    np.save(folder / "maps.npy", np.array(maps, np.float32))
    measured = {
        "build_seconds": build_seconds,
        "ms": 1000 * statistics.median(seconds[-NUM_TIMED:]),
        "megabytes": num_bytes / 1e6,
    }
    (folder / "peer.json").write_text(json.dumps(measured))


def _tensor(pictures: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(n, 3, H, W) as the network wants it."""
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (MEAN, STD))
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std


def padim(train: Tensor, weights: dict[str, Tensor]) -> Learnt:
    """PaDiM (Defard et al. 2021): a Gaussian of 100 of 448 channels at each of 56×56 places."""
    from anomalib.models.image.padim.torch_model import PadimModel

    model = PadimModel("resnet18", LAYERS, pre_trained=False)
    _feed(model, train, weights)
    model.fit()
    learnt = (model.gaussian.mean, model.gaussian.inv_covariance)
    return _judge(model), sum(one.nbytes for one in learnt)


def patchcore(train: Tensor, weights: dict[str, Tensor], ratio: float) -> Learnt:
    """PatchCore (Roth et al. 2022): one coreset of layer2 and layer3."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(LAYERS[1:], "resnet18", pre_trained=False)
    _feed(model, train, weights)
    model.subsample_embedding(ratio)
    return _judge(model), model.memory_bank.nbytes


def _feed(model: Any, train: Tensor, weights: dict[str, Tensor]) -> None:
    """Show a memory's model its pictures."""
    model.train()
    _load(model.feature_extractor.feature_extractor, weights)
    for batch in torch.split(train, 16):
        model(batch)


def _load(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a ResNet its weights; the classifier's are left over."""
    missing = network.eval().load_state_dict(weights, strict=False).missing_keys
    if any(not name.startswith(("layer4", "fc")) for name in missing):
        raise ValueError(f"the weights lack {missing[0]}")


def _judge(model: Any) -> Judge:
    """Judge by an anomalib model."""
    model.eval()

    def judge(picture: Tensor) -> tuple[float, Tensor]:
        with torch.no_grad():
            found = model(picture)
        return float(found.pred_score), found.anomaly_map

    return judge


def cflow(train: Tensor, weights: dict[str, Tensor]) -> Learnt:
    """CFlow (Gudovskiy et al. 2022): flows of the vectors of three layers, given their place."""
    from anomalib.models.image.cflow.torch_model import CflowModel

    model = CflowModel("resnet18", LAYERS, pre_trained=False, fiber_batch_size=CFLOW_FIBERS)
    _load(model.encoder.feature_extractor, weights)
    optimizer = torch.optim.Adam(model.decoders.parameters(), lr=1e-4)
    for _ in range(CFLOW_EPOCHS):
        for batch in torch.split(train[torch.randperm(len(train))], 16):
            features = model.encoder(batch)
            for decoder, layer in zip(model.decoders, LAYERS, strict=True):
                _train_flow(decoder, features[layer], model.condition_vector, optimizer)
    return _judge(model), sum(one.nbytes for one in model.decoders.parameters())


def _train_flow(
    decoder: nn.Module, features: Tensor, condition: int, optimizer: torch.optim.Optimizer
) -> None:
    """Take a step for each thousand vectors of a batch, as anomalib's training step does."""
    from anomalib.models.image.cflow.utils import get_logp, positional_encoding_2d

    batch, channels, height, width = features.shape
    vectors = features.permute(0, 2, 3, 1).reshape(-1, channels)
    places = positional_encoding_2d(condition, height, width).flatten(1).T.repeat(batch, 1)
    for chosen in torch.split(torch.randperm(len(vectors)), CFLOW_FIBERS):
        latent, log_volume = decoder(vectors[chosen], [places[chosen]])
        log_likelihood = get_logp(channels, latent, log_volume) / channels
        optimizer.zero_grad()
        torch.autograd.backward(-nn.functional.logsigmoid(log_likelihood).mean())
        optimizer.step()


def spade(train: Tensor, weights: dict[str, Tensor]) -> Learnt:
    """SPADE (Cohen & Hoshen 2020) as pyimgano has it: 50 neighbours among all vectors of a layer.

    Of its own options only ``align_features`` is changed: it normalises queries, not the memory.
    """
    import torchvision
    from pyimgano.models import spade as module

    network = torchvision.models.resnet18(weights=None)
    _load(network, weights)
    module.load_torchvision_model = lambda name, pretrained: (network, None)
    size_px = train.shape[-1]
    model = module.VisionSPADEDetector(
        backbone="resnet18", image_size=size_px, align_features=False, device="cpu"
    )
    model.fit(_pictures(train))

    def judge(picture: Tensor) -> tuple[float, Tensor]:
        anomaly_map = torch.from_numpy(model.predict_anomaly_map(_pictures(picture)))
        return float(anomaly_map.max()), anomaly_map

    return judge, sum(one.nbytes for one in model.memory_bank.values())


def _pictures(given: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(n, H, W, 3) from 0 to 1, for a package that normalises by itself."""
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (MEAN, STD))
    pictures: np.ndarray[Any, np.dtype[np.float32]] = (
        (given * std + mean).permute(0, 2, 3, 1).numpy()
    )
    return pictures


METHODS: dict[str, Callable[[Tensor, dict[str, Tensor]], Learnt]] = {
    "PaDiM": padim,
    "PatchCore-1%": lambda train, weights: patchcore(train, weights, 0.01),
    "PatchCore-10%": lambda train, weights: patchcore(train, weights, 0.1),
    "CFlow": cflow,
    "SPADE": spade,
}

if __name__ == "__main__":
    main()

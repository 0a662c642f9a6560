"""What a bank holds, as plain values."""

from __future__ import annotations

from typing import Any

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.thumbnails import sizes_of


def describe(bank: Bank) -> dict[str, Any]:
    """Say all but keys, weights and pixels: the object of ``fapm info --json``."""
    memories = zip(bank.config.memory_names, bank.map_sizes, bank.memories, strict=True)
    return {
        "config": bank.config.to_json(),
        "variant": bank.config.variant,
        "weights": bank.weights,
        "weights_hash": bank.weights_hash,
        "backbone_embedded": bank.backbone is not None,
        "versions": bank.versions,
        "seen": bank.seen and bank.seen.to_json(),
        "light": bank.light and bank.light.summary(),
        "inspected_share": bank.inspected_share,
        "thumbnail_bytes": sum(sizes_of(bank.thumbnails or ())),
        "metric": bank.metric and bank.metric.summary(),
        "thresholds": bank.thresholds.summary(),
        "pictures": [
            {"name": p.name, "sha256": p.sha256, "score": p.score, "group": p.group}
            for p in bank.pictures
        ],
        "memories": {
            name: {
                "map_size": [*map_size],
                "channels": memory.keys.shape[1],
                "key_counts": memory.key_counts.tolist(),
                "radius_sq": memory.radius_sq.tolist(),
                "widened": memory.widened.tolist(),
            }
            for name, map_size, memory in memories
        },
    }

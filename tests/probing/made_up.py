"""A result as `visionpe.probe` returns it, of invented numbers, to draw and to write."""

import torch
from torch import Tensor

from visionpe.probing.page_words import _KNOWN
from visionpe.probing.result import Companion, Mean, ProbeResult, Row


def ramp(target: str, h: int, w: int) -> Tensor:
    y = ((torch.arange(h) + 0.5) / h)[:, None].expand(h, w)
    x = ((torch.arange(w) + 0.5) / w).expand(h, w)
    near = torch.exp(-4 * ((y - 0.5) ** 2 + (x - 0.5) ** 2))
    stripes = {"HS": 0.5 + 0.5 * torch.cos(16 * y), "VS": 0.5 + 0.5 * torch.cos(16 * x)}
    return {"H": x, "V": y, "G": near, **stripes}[target]


def made_up(
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4"),
    targets: tuple[str, ...] = ("H", "V", "G", "HS", "VS"),
    seeds: int = 2,
) -> ProbeResult:
    draw = torch.Generator().manual_seed(0)
    rows, means = [], []
    maps: dict[str, dict[str, dict[str, Tensor]]] = {}
    for depth, layer in enumerate(layers):
        maps[layer] = {}
        h, w = max(28 >> depth, 4), max(40 >> depth, 5)
        for target in targets:
            exact = ramp(target, h, w)
            maps[layer][target] = {"target": exact}
            for order, condition in enumerate(_KNOWN):
                kind = _KNOWN[condition].kind
                good = {
                    "model": 0.5,
                    "twin": 0.25,
                    "encoding": 0.2,
                    "weights": 0.3,
                    "images": 0.35,
                    "memory": 0.1,
                    "null": 0.0,
                }
                noise = float(torch.randn((), generator=draw)) * (0.01 if kind == "null" else 0.04)
                score = good[kind] * (0.6 + 0.2 * depth) + noise
                for seed in range(seeds):
                    rows.append(
                        Row(
                            *(layer, target, condition, seed, score, 0.25 - 0.1 * score),
                            *(score**2, (score - 0.05, score + 0.05), 12, 38, 1.5 + order),
                        )
                    )
                means.append(
                    Mean(
                        *(layer, target, condition, score, 0.25 - 0.1 * score, score**2),
                        spearman_interval=(score - 0.05, score + 0.05),
                        mae_interval=(0.2, 0.25),
                        r2_interval=(score**2 - 0.04, score**2 + 0.04),
                        seeds=seeds,
                        n_images=12 * seeds,
                    )
                )
                blur = 0.5 + score * (exact - 0.5)
                maps[layer][target][condition] = (
                    blur + 0.05 * torch.randn(h, w, generator=draw)
                ).clamp(0, 1)
    field = ramp("G", 64, 80) ** 4
    companions = {
        layer: Companion(
            field / field.sum(),
            20.0 + 30 * depth,
            (1 - ramp("G", 12, 15)) * 0.4,
            0.02 * depth,
            0.21 + 0.05 * depth,
        )
        for depth, layer in enumerate(layers)
    }
    notes = ["No images were given: 50 dead-leaves images of 224 x 224 pixels were generated."]
    meta = {"model": "ResNet", "size": [224, 224], "readout": "Ridge(kernel=1)", "seconds": 93.2}
    return ProbeResult(rows, means, maps, companions, notes, meta)

"""The plain commands of benchmarks.startup: python -m benchmarks.startup_plain test|encode WEIGHTS DATA OUT GPU_IDS"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image

from benchmarks.plain import PlainDrawing, PlainTraining


def pairs(data: Path):
    """(name, label (1, 1, 512, 512), photo (1, 3, 512, 512) in [-1, 1]) of each photo."""
    to_tensor = T.Compose([T.ToTensor(), T.Normalize((0.5,) * 3, (0.5,) * 3)])
    for path in sorted((data / "train_img").iterdir()):
        photo = Image.open(path).convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)
        ids = Image.open(data / "train_label" / f"{path.stem}.png").resize((512, 512), Image.Resampling.NEAREST)
        yield path.stem, torch.from_numpy(np.array(ids))[None, None], to_tensor(photo)[None]


def load(networks, weights: Path, names: str) -> None:
    """Load weights."""
    for name in names:
        getattr(networks, name).load_state_dict(torch.load(weights / f"latest_net_{name}.pth", map_location="cpu"))


def test(weights: Path, data: Path, out: Path, device) -> None:
    """Draw each photo's label map with its features; write three pictures each, and a page."""
    drawing, rows = PlainDrawing(device), []
    load(drawing, weights, "GE")
    for name, label, image in pairs(data):
        drawn = drawing.draw({"label": label, "image": image})
        shown = {"label": label[0].expand(3, -1, -1).numpy() * 13, "drawn": drawn[0].cpu().numpy(), "real": image[0].numpy()}
        for key, value in shown.items():
            pixels = value if key == "label" else (value + 1) * 127.5
            Image.fromarray(pixels.transpose(1, 2, 0).astype(np.uint8)).save(out / f"{name}_{key}.jpg")
            rows.append(f'<img src="{name}_{key}.jpg">')
    (out / "index.html").write_text("\n".join(rows))


def encode(weights: Path, data: Path, out: Path, device) -> None:
    """Encode each region of each photo and cluster the features. As in pix2pixHD, all networks are built and loaded."""
    from scipy.cluster.vq import kmeans2
    networks = PlainTraining(device)
    load(networks, weights, "GDE")
    found: dict[int, list] = {}
    with torch.no_grad():
        for _, label, image in pairs(data):
            features = networks.E.features(image.to(device)).cpu()
            for region in label.unique():
                rows, columns = (label[0, 0] == region).nonzero(as_tuple=True)
                row = [float(features[0, c, rows, columns].mean()) for c in range(features.shape[1])]
                found.setdefault(int(region), []).append([*row, len(rows) / (label.numel() // 32)])
    np.save(out / "features.npy", {k: np.array(v) for k, v in found.items()}, allow_pickle=True)
    large = {k: np.array([row[:-1] for row in v if row[-1] > 0.5]) for k, v in found.items()}
    np.save(out / "clustered.npy", {k: kmeans2(v, min(len(v), 10), minit="points")[0] for k, v in large.items() if len(v)},
            allow_pickle=True)


def main():
    """Run the command."""
    command, weights, data, out, gpu_ids = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    device = torch.device("cpu" if gpu_ids == "-1" else f"cuda:{gpu_ids}")
    {"test": test, "encode": encode}[command](Path(weights), Path(data), Path(out), device)


if __name__ == "__main__":
    main()

"""How well a diffusion model has learnt: held-out error of the prediction, and what its samples' colours are like.

    python -m benchmarks.diffusion checkpoints/ddpm --samples 256
"""
from __future__ import annotations

import argparse
import json
import time

import torch

import startup  # noqa: F401 - before torch starts threads
from data.base_dataset import Needs
from data.data_loader import CreateDataLoader
from models.losses.diffusion import DiffusionLoss
from models.predictor import Predictor


def held_out(predictor) -> list[dict]:
    """The batches of the test photos, with what the model is conditioned on."""
    opt, keys = predictor.opt, ("image", *predictor.opt.needs.keys)
    listed_by = "label" if opt.condition == "label" else "image"
    needs = Needs(keys, listed_by, opt.needs.multiple, opt.needs.least)
    return list(CreateDataLoader(opt.replace(needs=needs, nThreads=0, how_many=float("inf"))))


def prediction_error(predictor, batches, draws: int = 4) -> float:
    """The mean squared error of the noise, of a velocity that which follows, over photos, timesteps and noise, all the same in
    each run."""
    model, found = predictor.model, []
    betas = model.schedule.betas()
    loss, bar = DiffusionLoss(betas, predictor.opt.objective, model.schedule.learn_sigma), (1 - betas).cumprod(0)
    torch.manual_seed(0)
    for batch in batches * draws:
        image, condition = batch["image"].to(model.device), model._condition_of(batch)
        t = torch.randint(model.schedule.timesteps, (len(image),))
        with torch.no_grad():
            _, seen = loss(lambda x, t, known=condition: model._network(x, t, known), image, t.to(model.device),
                           torch.randn_like(image))
        found += ((seen - image).square().mean((1, 2, 3)).cpu() * (bar / (1 - bar))[t]).tolist()
    return sum(found) / len(found)


def colours(pictures: torch.Tensor) -> tuple[list, list]:
    """(mean, deviation) of each channel of pictures (N, C, H, W) in [-1, 1]."""
    return tuple([round(float(value), 3) for value in found] for found in (pictures.mean((0, 2, 3)), pictures.std((0, 2, 3))))


def main():
    """Measure, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="the experiment")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--gpu_ids", default="-1")
    args = parser.parse_args()
    predictor = Predictor.load(args.folder, gpu_ids=args.gpu_ids, batchSize=args.batch)
    batches = held_out(predictor)
    found = {"experiment": args.folder, "held_out_mse": round(prediction_error(predictor, batches), 4)}
    found["photos"] = colours(torch.cat([batch["image"] for batch in batches]))
    if predictor.opt.condition == "none":
        start = time.monotonic()
        drawn = [predictor.model.denoise({}, range(i, min(i + args.batch, args.samples)), 0).cpu()
                 for i in range(0, args.samples, args.batch)]
        found["samples"] = colours(torch.cat(drawn))
        found["seconds_a_sample"] = round((time.monotonic() - start) / args.samples, 3)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

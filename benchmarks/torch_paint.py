"""What benchmarks/startup.py times test.py against: a script that paints one picture in PyTorch and writes its JPEG, no more.

Runs in an environment that has PyTorch, NumPy and Pillow; needs nothing of this project but files beside it.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.torch_autoencoder import Autoencoder
from benchmarks.torch_unet import UNet


def network(kind, options, path):
    """A network with the weights of a file, ready to run."""
    with torch.device("meta"):                                      # no memory until the weights come
        model = kind(**options)
    with np.load(path) as weights:
        model.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files}, assign=True)
    return model.eval()


@torch.inference_mode()
def paint(job):
    """Algorithm 2 without colour transfer, by DDIM: job["rounds"] has {"t", "alpha_bar", "alpha_bar_prev", "guidance"} each."""
    unet = network(UNet, job["unet"], job["unet_weights"])
    autoencoder = network(Autoencoder, job["autoencoder"], job["autoencoder_weights"])
    torch.manual_seed(0)
    x = torch.from_numpy(np.asarray(Image.open(job["reference"]).convert("RGB"))).permute(2, 0, 1)[None].float() / 127.5 - 1
    labels = torch.from_numpy(np.asarray(Image.open(job["mask"])).astype(np.int64))[None]
    factor = x.shape[2] // job["latent_height"]
    labels = labels[:, factor // 2::factor, factor // 2::factor]
    for r in job["rounds"]:
        z_0 = autoencoder.encode(x)
        z = r["alpha_bar"][0] ** 0.5 * z_0 + (1 - r["alpha_bar"][0]) ** 0.5 * torch.randn_like(z_0)
        for t, a, b in zip(r["t"], r["alpha_bar"], r["alpha_bar_prev"]):
            step = torch.tensor([t])
            out = unet(torch.cat([z, z]), step, torch.cat([labels, torch.full_like(labels, -1)]))[:, :z.shape[1]]
            eps_c, eps_u = out.chunk(2)
            eps = eps_u + r["guidance"] * (eps_c - eps_u)
            z = b ** 0.5 * (z - (1 - a) ** 0.5 * eps) / a ** 0.5 + (1 - b) ** 0.5 * eps
        x = autoencoder.decode(z).clamp(-1, 1)
    Image.fromarray(((x[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()).save(job["picture"], quality=95)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        paint(json.load(file))

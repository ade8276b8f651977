"""Computes libraries.npz: what the reference libraries give for inputs drawn by test_resize.py, test_fid.py and test_kid.py.

    pip install torch torchvision scipy pytorch-fid==0.3.0 clean-fid==0.1.35 torch-fidelity==0.4.0
    python -m tests.data.metrics.make
"""
from pathlib import Path

import numpy as np
import torch
from cleanfid.resize import build_resizer
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from tests.drawn import IMAGES, SHOWN, feature_sets, noise_image


def resized(image):
    """{mode: float32 (3, 299, 299)}: what each library hands to its Inception's first layer."""
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    by_torch = torch.nn.functional.interpolate(x / 255, (299, 299), mode="bilinear", align_corners=False)
    by_tf = interpolate_bilinear_2d_like_tensorflow1x(x, (299, 299), align_corners=False)
    return {"pytorch": (2 * by_torch - 1)[0].numpy(), "tf": ((by_tf - 128) / 128)[0].numpy(),
            "clean": (build_resizer("clean")(image).transpose(2, 0, 1) - 128) / 128}


def statistics(features):
    return {"mu": features.mean(0), "sigma": np.cov(features, rowvar=False)}


def main():
    values = {}
    for name, shape in IMAGES.items():
        for mode, array in resized(noise_image(shape)).items():
            values[f"resize_{mode}_{name}"] = array[SHOWN].astype(np.float32)
    for name, (a, b) in feature_sets().items():
        a, b = statistics(a), statistics(b)
        values[f"fid_pytorch-fid_{name}"] = calculate_frechet_distance(a["mu"], a["sigma"], b["mu"], b["sigma"])
        values[f"fid_torch-fidelity_{name}"] = fid_statistics_to_metric(a, b, verbose=False)["frechet_inception_distance"]
    one, other = (torch.from_numpy(part) for part in feature_sets()["full_rank"])
    found = kid_features_to_metric(one, other, kid_subsets=10, kid_subset_size=40, rng_seed=2020, verbose=False)
    values["kid"] = np.array([found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]])
    np.savez_compressed(Path(__file__).with_name("libraries.npz"), **values)
    for name, value in values.items():
        print(name, value if np.size(value) < 3 else value.shape)


if __name__ == "__main__":
    main()

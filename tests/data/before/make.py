"""How the files beside this script were made: a run, a checkpoint and a results folder of the version whose rounds
said `start` of a grid of `steps`, and whose stages said `start` and `mask_drop`.

    git worktree add OLD 354bf5e
    python tests/data/before/make.py OLD NEW_FOLDER

The smallest networks that go through train.py and test.py, on landscapes of 32x24. The second of three results is
kept apart, in painted/, for a test that paints it again; then.jsonl is the log of the run as that version went on
with it for two steps more.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROUNDS = ("[{steps: 50, start: 3, guidance: 2.0, published_offset: true}, "               # a stride of 20
          "{sampler: unipc, steps: 500, start: 30, spacing: logsnr, levels: 3, guidance: 1.5}, "
          "{sampler: ddpm, steps: 60, start: 4, guidance: 1.0}]")                         # no stride gives 60 points of 1000
STAGE = {"steps": 2, "batch_size": 2, "save_every": 2, "sample_every": 100, "workers": 1}
OPTIONS = {"data.height": 24, "data.width": 32, "data.validation": 0, "data.cache": "latents", "data.flip": "false",
           "train.run": "run", "autoencoder.path": "autoencoder.safetensors", "autoencoder.channels": 4,
           "autoencoder.channel_mult": [1, 1], "autoencoder.res_blocks": 1, "autoencoder.codes": 16, "autoencoder.groups": 2,
           "unet.channels": 4, "unet.channel_mult": [1], "unet.res_blocks": 1, "unet.attention_factors": [],
           "unet.head_channels": 4, "unet.spade_channels": 1, "unet.groups": 2,
           **{f"train.{stage}.{name}": value for stage in ("autoencoder", "unet") for name, value in STAGE.items()},
           "train.autoencoder.lr": 0.01, "train.autoencoder.crop": 16, "train.autoencoder.codebook_start": 1,
           "train.unet.lr": 0.05, "train.unet.mask_drop": 0.3, "sampling.rounds": ROUNDS}


def main(old, folder):
    old, folder = Path(old).resolve(), Path(folder)
    folder.mkdir(parents=True)

    def run(*command, cwd=folder):
        subprocess.run([sys.executable, *command], cwd=cwd, check=True, env={**os.environ, "PYTHONPATH": str(old)})

    def train(*more, **where):
        run(str(old / "train.py"), "--input_path", "data/train",
            *(word for name, value in OPTIONS.items() for word in ("--set", f"{name}={value}")), *more, **where)

    run("-m", "data.synthetic", "--output", "data", "--train", "3", "--test", "3", "--width", "32", "--height", "24")
    train()
    shutil.copytree(folder, folder / "on")
    train("--resume", "--set", "train.unet.steps=4", cwd=folder / "on")
    (folder / "on/run/unet/log.jsonl").rename(folder / "then.jsonl")
    run(str(old / "test.py"), "--input_path", "data/test", "--img_path", "data/train", "--output_path", "results",
        "--checkpoint", "run/checkpoints/unet-00000002.safetensors")
    (folder / "painted").mkdir()
    (folder / "results/test_00001.jpg").rename(folder / "painted/test_00001.jpg")
    for name in ("data/test_images", "latents", "run/autoencoder", "on"):
        shutil.rmtree(folder / name)
    for pattern in ("**/*.png", "results/result.zip", "run/checkpoints/autoencoder*", "data/*.json", "run/config.yaml"):
        for path in folder.glob(pattern):
            if path.parent.name not in ("labels", "val_labels_resized"):
                path.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])

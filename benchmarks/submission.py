"""Seconds per image of a submission, end to end: the published recipe done the plain way, against a recipe done our way.

At mini size (mini.yaml) both are really run, and the sum of their parts, measured between the images, is compared
with what each took (real_over_composed, the median): a shared machine's speed changes within seconds. At --full
size, where the published recipe would take hours an image on a CPU, the sum alone: measured seconds of a plain step (two
forwards), of our guided and unguided steps, of what is made once per mask, of encoding, decoding and colour transfer, times
how often each recipe needs them. S is the style similarity of the images that were really made, M their mask accuracy by a
segmenter, where one is given. "tiny between" is our way with a tiny autoencoder (train.py --stage tiny) on the way from a round
to the next, its weights random: the sum of parts again.
"""
import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from benchmarks.guided_step import areas
from benchmarks.measure import peak_mb, seconds
from configs.reading import config_from, load_config
from configs.schema import PRECISIONS
from data.landscape import find_test, read_image, read_labels
from data.synthetic import write_dataset
from demo.weights import MINI
from ldm.algorithm2 import calls, synthesise
from ldm.colour_transfer import transfer
from ldm.guidance import guided
from ldm.pixels import from_uint8, to_uint8
from ldm.schedule import make_schedule
from models.autoencoder import build_autoencoder
from models.cached_unet import CachedUNet
from models.layers import initialise
from models.precision import compute_in, resolve
from models.unet import build_unet
from models.weights.checkpoint import fill
from models.weights.loading import load_autoencoder, open_weights
from runtime.backend import DEVICE, jt
from sampling.best_of import selection_score


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the published size, random weights, the sum of parts only")
    parser.add_argument("--recipe", default="iidm_fast", help="config of our recipe (default: iidm_fast)")
    parser.add_argument("--images", type=int, default=4, help="masks that are really painted at mini size (default: 4)")
    parser.add_argument("--precision", default="float32", choices=[*PRECISIONS, "auto"],
                        help="of our way; at mini size of all (default: float32)")
    parser.add_argument("--segmenter", metavar="FILE", help="for M: what train.py --stage segmenter makes, as for evaluate.py")
    parser.add_argument("--repeats", type=int, help="timed runs of each part (default: 3; at mini size 30)")
    args = parser.parse_args()
    repeats = args.repeats or (3 if args.full else 30)

    published, ours = load_config("iidm").sampling, load_config(args.recipe).sampling
    config, autoencoder, model = published_size() if args.full else mini_size()
    schedule = make_schedule(config.diffusion.schedule, config.diffusion.timesteps)
    encode, decode = autoencoder.encode, autoencoder.decode
    precision, plain_parts = resolve(args.precision), None
    if precision != "float32":
        plain_parts = measure(config, autoencoder, model, repeats) if args.full else None
        for network in (model, autoencoder):
            compute_in(network, precision, store=True)
    recipes = (("published, plain way", published, "plain"), ("published, our way", published, "ours"),
               (f"{args.recipe}, our way", ours, "ours"))
    tiny = f"{args.recipe}, tiny between"
    measured = [measure(config, autoencoder, model, repeats)]

    def composed(found, sampling, way):
        return compose(sampling, schedule, {part: statistics.mean(one[part] for one in found) for part in found[0]}, way)

    result = {"device": DEVICE, "size": "full" if args.full else "mini", "recipe": args.recipe, "precision": precision,
              "parts": {}}
    for name, sampling, way in recipes:
        result[name] = {"evaluations": sum(calls(r, schedule) for r in sampling.rounds)}
        if not args.full:
            used, ratios, before = CachedUNet(model) if way == "ours" else model, [], None
            painted = really_run(config, (encode, decode, used), sampling, schedule, args.images, args.segmenter)
            for seconds_taken, scores in painted:
                result[name].update(scores)
                measured.append(measure(config, autoencoder, model, repeats))
                if before:                                                     # the first image compiles: it is not counted
                    ratios.append((seconds_taken, seconds_taken / composed([before, measured[-1]], sampling, way)))
                before = measured[-1]
            result[name].update(images=len(ratios), seconds=statistics.median(taken for taken, _ in ratios),
                                real_over_composed=statistics.median(ratio for _, ratio in ratios))
    parts = result["parts"] = {part: statistics.median(found[part] for found in measured) for part in measured[0]}
    for name, sampling, way in recipes:
        result[name]["composed_seconds"] = compose(sampling, schedule, (way == "plain" and plain_parts) or parts, way)
    result[tiny] = {"evaluations": result[f"{args.recipe}, our way"]["evaluations"],
                    "composed_seconds": compose(ours, schedule, parts, "tiny")}
    if plain_parts:
        result["float32_parts"] = plain_parts
    ways = ("published, plain way", f"{args.recipe}, our way", tiny)
    plain, fast, least = (result[name]["composed_seconds"] for name in ways)
    print(json.dumps({**result, "composed_ratio": fast / plain, "composed_ratio_tiny": least / plain, "peak_mb": peak_mb()}))


def published_size():
    """(Config, autoencoder, U-Net) of the winning entry with random weights."""
    config = load_config("iidm")
    autoencoder, model = build_autoencoder(config.autoencoder), build_unet(config.unet)
    for network in (autoencoder, model):
        initialise(network, seed=0)
    return config, autoencoder, model


def mini_size():
    """(Config, autoencoder, U-Net) of mini.yaml with its weights."""
    found = open_weights(MINI / "unet.safetensors", "unet")
    config = config_from(found.header.config)
    config.autoencoder.path = str(MINI / "autoencoder.safetensors")
    model = build_unet(config.unet)
    fill(model, found.tensors, "the U-Net of demo/weights/mini")
    return config, load_autoencoder(config.autoencoder)[0], model


def measure(config, autoencoder, model, repeats):
    """{part: median seconds for one image}."""
    height, width, factor = config.data.height, config.data.width, config.autoencoder.factor
    rng = np.random.default_rng(0)
    image = areas(rng, 1, height, width, 255)[..., None].repeat(3, -1).astype(np.uint8)
    labels = areas(rng, 1, height // factor, width // factor, config.unet.classes)
    z = jt.array(rng.standard_normal((1, config.unet.latent_channels, height // factor, width // factor), dtype=np.float32))
    m, prepared = jt.array(labels), CachedUNet(model)
    x, tiny = from_uint8(image), build_autoencoder(config.tiny.like(config.autoencoder))
    initialise(tiny, seed=0)
    jt.sync([z, m, x])

    def once_per_mask():
        prepared.prepare(jt.array(labels))
        return prepared.kept_maps

    with jt.no_grad():
        step = lambda way, scale: seconds(lambda: [guided(way, scale)(z, 500, m)], repeats)
        return {"plain_guided_step": step(model, 3.5), "guided_step": step(prepared, 3.5), "unguided_step": step(prepared, 1),
                "plain_unguided_step": step(model, 1), "once_per_mask": seconds(once_per_mask, repeats),
                "encode": seconds(lambda: [autoencoder.encode(x)], repeats),
                "decode": seconds(lambda: [autoencoder.decode(z)], repeats),
                "tiny_encode": seconds(lambda: [tiny.encode(x)], repeats),
                "tiny_decode": seconds(lambda: [tiny.decode(z)], repeats),
                "to_uint8": timed(lambda: to_uint8(x)),
                "colour_transfer": timed(lambda: transfer("cielab8", image[0], image[0]))}


def timed(run):
    """Seconds of a call that is not Jittor's, the second one."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compose(sampling, schedule, parts, way):
    """Seconds per image from the parts. way: plain, ours, or tiny: ours with the tiny autoencoder between rounds."""
    plain, total = way == "plain", 0 if way == "plain" else parts["once_per_mask"]
    between = "tiny_" if way == "tiny" else ""
    for k, round_ in enumerate(sampling.rounds):
        with_guidance = calls(round_, schedule) - round_.steps          # a guided step counts two calls
        total += with_guidance * parts["plain_guided_step" if plain else "guided_step"]
        total += (round_.steps - with_guidance) * parts["plain_unguided_step" if plain else "unguided_step"]
        last = k == len(sampling.rounds) - 1
        total += parts[f"{between if k else ''}encode"] + parts[f"{'' if last else between}decode"]
        total += parts["to_uint8"] + (parts["colour_transfer"] if k else 0)
    return total


def really_run(config, networks, sampling, schedule, count, segmenter=None):
    """Yields (seconds, {"S" and, with a segmenter, "M"} of the images so far) for images that are really painted, one at a
    time, `count` and one before."""
    scorers = {"S": selection_score("s", None), **({"M": selection_score("m", segmenter)} if segmenter else {})}
    scores = {name: [] for name in scorers}
    height, width, factor = config.data.height, config.data.width, config.autoencoder.factor
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):
            write_dataset(folder, train=2 * count + 2, test=count + 1, width=width, height=height, seed=11, progress=False)
        cases = find_test(Path(folder) / "test", Path(folder) / "train")
        given = [(read_image(case.reference, height, width), read_labels(case.mask, height // factor, width // factor),
                  case) for case in cases]
        for image, labels, case in given:
            start = time.perf_counter()
            found, _ = synthesise(*networks, image[None], labels[None], [case.stem], sampling, schedule,
                                  config.unet.latent_channels)
            taken = time.perf_counter() - start
            for name, score in scorers.items():
                scores[name].append(score(case, image, found[0]))
            yield taken, {name: float(np.mean(values)) for name, values in scores.items()}


if __name__ == "__main__":
    main()

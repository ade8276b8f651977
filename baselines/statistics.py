"""Statistics for test, computed again over the training pairs: batch normalisation's of the weights as they
are saved, and SEAN's mean codes. Running statistics of small batches are noisy, and those of averaged weights
were never measured."""
from pathlib import Path

import numpy as np

from baselines.gan import parts, statistics
from baselines.layers import VECTORS, BatchNorm, set_training
from baselines.sean import CODE, counts
from baselines.trainer import Batch
from baselines.weights import load_gan, open_gan
from ldm.noise import generator as keyed
from models.layers import parameters_of
from models.weights.checkpoint import write_checkpoint
from runtime.backend import jt
from runtime.log import progress_bar


def recompute(config, pairs, checkpoint):
    """Writes statistics-NAME.safetensors beside a checkpoint and returns its path. config: whose
    `train` and `data` say how batches are read."""
    saved, weights = open_gan(checkpoint)
    saved.data, saved.train = config.data, config.train
    gan = load_gan(saved, weights, checkpoint)
    size, batches = config.train.gan.batch_size, -(-len(pairs) // config.train.gan.batch_size)
    vectors = {name: var.numpy() for name, var in statistics(gan).items() if name.rpartition(".")[2] in VECTORS}
    layers = [layer for part in parts(gan).values() for layer in part.modules() if isinstance(layer, BatchNorm)]
    sums, images = np.zeros((saved.gan.generator.classes, CODE)), np.zeros(saved.gan.generator.classes)
    set_training(gan, True)
    with jt.no_grad(), progress_bar(total=batches, label="statistics", unit="batch") as progress:
        for n in range(batches):
            for layer in layers:
                layer.momentum = 1 / (n + 1)                 # the mean over all batches
            batch = Batch.read(pairs[n * size:(n + 1) * size], saved, keyed(config.train.seed, "statistics", n), n)
            style, _, _ = gan.encode(jt.array(batch.images), batch.semantics, batch.eps[0])
            if gan.codes:
                present = np.stack([counts(batch.semantics, batch.semantics.size, i) > 0
                                    for i in range(batch.semantics.batch)])
                sums += (style.numpy() * present[:, :, None]).sum(0)
                images += present.sum(0)
            gan.generator.images(batch.semantics, style, batch.noise)
            restore(gan, vectors)
            jt.sync_all()
            progress.update()
    if gan.codes:
        restore(gan, {"mean_codes": sums / np.maximum(images, 1)[:, None], "codes_seen": images})
    path = Path(checkpoint).with_name(f"statistics-{Path(checkpoint).stem}.safetensors")  # no checkpoint of the run
    write_checkpoint(path, parameters_of(gan), weights.header)
    return path


def restore(gan, arrays):
    """Gives statistics values from outside."""
    own = statistics(gan)
    for name, array in arrays.items():
        own[name].update(jt.array(np.asarray(array, dtype=np.float32)).stop_grad())

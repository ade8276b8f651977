"""Training a segmenter on the training pairs: images to class ids, at random scales and places."""
import math
from pathlib import Path

import cv2
import numpy as np

from configs.classes import CHALLENGE
from data.batches import batch_rows, train_val_split
from data.landscape import read_image, read_labels
from evaluation.metrics.classes import UNLABELLED, class_map, source_of
from evaluation.metrics.mask_accuracy import agreement
from evaluation.networks.layers import batch_of_one
from evaluation.networks.segformer import MEAN
from evaluation.networks.segmenter import SMALLEST, build_segmenter, enlarge, load_segmenter, normalised, published
from ldm.noise import generator
from models.layers import initialise, parameters_of
from models.weights.checkpoint import read_header
from models.weights.loading import is_ours
from models.weights.ranking import ranked
from runtime import pictures
from runtime.backend import jt
from runtime.errors import UserError
from training.cross_entropy import cross_entropy
from training.run import Run

SHOWN = 4                                                     # rows in the picture
BEYOND = np.rint(255 * np.array(MEAN)).astype(np.uint8)       # colour beyond an image's border: the network sees zeros


def train_segmenter(config, pairs, resume):
    """Trains on the pairs; returns the path of the best checkpoint and its metrics."""
    options, seed, whole = config.train.segmenter, config.train.seed, (config.data.height, config.data.width)
    classes = config.data.class_set
    size = (min(options.crop, whole[0]), min(options.crop, whole[1])) if options.crop else whole
    if min(size) < SMALLEST:
        raise UserError(f"train.segmenter: images are cut to {size[1]}x{size[0]}, expected at least {SMALLEST} pixels each way")
    if config.segmenter.classes != config.unet.classes:
        raise UserError(f"segmenter.classes is {config.segmenter.classes}, expected unet.classes ({config.unet.classes})")
    model, notes = initial_model(config)
    print("\n".join(notes), flush=True)
    run = Run(config, "segmenter", model)
    run.start(resume)
    training, validation = train_val_split(pairs, config.data.validation)
    held = [(read_image(pair.image, *whole), read_labels(pair.labels, *whole, classes)) for pair in validation]

    def make_batch(step):
        rng = generator(seed, "segmenter", step)
        rows = [training[row] for row in batch_rows(seed, step, options.batch_size, len(training))]
        parts = [augment(read_image(pair.image, *whole), read_labels(pair.labels, *whole, classes), rng, size,
                         config.segmenter.scale, config.data.flip) for pair in rows]
        images, labels = (np.stack(arrays) for arrays in zip(*parts))
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32), labels

    for images, labels in run.batches(make_batch):           # from the saved step to the last
        losses = cross_entropy(enlarge(model(jt.array(normalised(images))), size), jt.array(labels))
        run.step(losses)                                     # AdamW, moving average, log line
        if run.due("save"):
            with run.averaged_weights():
                metrics = validate(model, held, whole)
            run.save(metrics)
        if run.due("sample"):
            with run.averaged_weights():
                picture = preview(model, held[:SHOWN], whole, classes.colours)
            run.save_picture(picture)
    path, header = ranked(run.root, "segmenter")[0]
    seen = "held-out images" if validation is not training else "images, which were trained on"
    print(f"{path}: step {header.step}, pixel accuracy {100 * header.metrics['val_accuracy']:.2f} % on {len(held)} {seen}; "
          f"evaluate.py --segmenter {path}")
    return path, header.metrics


def validate(model, held, size):
    """{"val_loss", "val_accuracy"} of pairs (image, labels): mean cross-entropy and share of pixels found."""
    accuracy, loss = [], []
    for image, labels in held:
        with jt.no_grad():
            logits = enlarge(model(jt.array(normalised(batch_of_one(image)))), size)
            loss.append(cross_entropy(logits, jt.array(labels[None].astype(np.int32)))["loss"].numpy()[0])
        accuracy.append(agreement(model.predict([image], size)[0], labels))
    return {"val_loss": float(np.mean(loss)), "val_accuracy": float(np.mean(accuracy))}


def preview(model, held, size, colours):
    """A picture: image | its mask | found."""
    shown = [(image, labels, model.predict([image], size)[0]) for image, labels in held]
    rows = [[image, *(pictures.colour_labels(ids, colours) for ids in masks)] for image, *masks in shown]
    return pictures.grid(rows, captions=["image", "its mask", "found"])


def initial_model(config):
    """(model, lines for people): the weights that training begins with. Their architecture is that of
    train.segmenter.init_from, where there is one, and goes into config.segmenter."""
    seed, path = config.train.seed, config.train.segmenter.init_from
    if not path:
        return build_segmenter(config.segmenter, seed), [f"segmenter of {config.segmenter.widths}, drawn from seed {seed}"]
    if not Path(path).is_file():
        raise UserError(f"train.segmenter.init_from is {path}: no such file, expected weights to begin with")
    if is_ours(Path(path)):
        theirs = read_header(path, "segmenter").config["segmenter"]
        adopt(config.segmenter, widths=theirs["widths"], depths=theirs["depths"], reductions=theirs["reductions"],
              decoder=theirs["decoder"])
        return load_segmenter(path, config.segmenter), [f"segmenter begins with {path}"]
    size, arrays, whole = published(path, config.segmenter.decoder)
    adopt(config.segmenter, widths=list(size.widths), depths=list(size.depths), reductions=list(size.reductions),
          decoder=size.decoder)
    model = build_segmenter(config.segmenter)
    initialise(model, seed)
    if whole:
        arrays.update(translated(arrays, parameters_of(model), size.classes, config.data.class_set))
    parameters = parameters_of(model)
    for name, array in arrays.items():
        parameters[name].update(jt.array(array))
    what = f"SegFormer {size.name}" if whole else f"encoder {size.name}, head drawn from seed {seed}"
    return model, [f"segmenter begins with {path}: {what}"]


def adopt(section, **values):
    """Gives a config's section the architecture of a file."""
    for name, value in values.items():
        setattr(section, name, value)


def translated(arrays, drawn, classes, ours=CHALLENGE):
    """{name: array} of the last layer for our classes, a ClassSet: rows of classes of the same name, the others drawn."""
    found = {}
    sources = class_map(source_of(classes, ours), classes=ours)
    for name in ("classifier.weight", "classifier.bias"):
        found[name] = drawn[name].numpy().copy()
        for row, target in enumerate(sources):
            # "other" is no single class
            if target != UNLABELLED and (ours.names[target] != "other" or classes == len(found[name])):
                found[name][target] = arrays[name][row]
    return found


def augment(image, labels, rng, size, scale, flip):
    """A part of an image (H, W, 3) and its ids (H, W), resized by 1/scale to scale and mirrored half of the
    time.

    Returns uint8 (*size, 3) and int32 (*size); beyond the image's border its colour is the mean one, and the
    ids are -1.
    """
    factor = math.exp(rng.uniform(-math.log(scale), math.log(scale)))
    height, width = (max(1, round(n * factor)) for n in labels.shape)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
    places = []
    for inside, outside in zip((height, width), size):
        start = int(rng.integers(abs(inside - outside) + 1))
        length = min(inside, outside)
        places.append((slice(start, start + length), slice(length)) if inside > outside else
                      (slice(length), slice(start, start + length)))
    (from_y, to_y), (from_x, to_x) = places
    part, ids = np.full((*size, 3), BEYOND), np.full(size, -1, dtype=np.int32)
    part[to_y, to_x], ids[to_y, to_x] = image[from_y, from_x], labels[from_y, from_x]
    return (part[:, ::-1], ids[:, ::-1]) if flip and rng.random() < 0.5 else (part, ids)

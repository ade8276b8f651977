"""Distillation: a student of the U-Net that makes each round of Algorithm 2 in a few calls, without a second branch.

It has the teacher's architecture and begins with its weights. The rounds of the config say which timesteps it will be called at
and with which guidance: these become part of it (configs/iidm_turbo.yaml). The scale is not an input of it, as in Meng et al.:
the recipe's rounds differ in their timesteps, and all of a short training goes into what will be used.
"""
import numpy as np

from data.batches import batch_rows
from ldm.distillation import distillation_loss, taught
from ldm.guidance import guided
from ldm.noise import generator, q_sample
from ldm.schedule import alpha_bar_at, make_schedule
from models.cached_unet import CachedUNet
from models.checkpointing import CheckpointedUNet
from models.precision import compute_in, resolve
from models.unet import build_unet
from models.weights.checkpoint import TAUGHT, weights_hash
from models.weights.loading import load_weights
from runtime.backend import jt
from runtime.errors import UserError
from training.ranks import ranks_here
from training.run import Run
from training.unet import SHOWN, cached_latents, preview, rows_of, split_rows

VALIDATED = 8     # held-out rows that a validation follows through every round


def train_student(config, pairs, autoencoder, resume):
    """Trains a student of the U-Net in train.distil.teacher on the pairs' latents and label maps; its checkpoints, in the run's
    folder, are U-Nets that say what they were taught. UserError where the config names no teacher or other rounds."""
    options, seed, rounds = config.train.distil, config.train.seed, config.sampling.rounds
    check_lessons(options, rounds)
    schedule = make_schedule(config.diffusion.schedule, config.diffusion.timesteps)
    config.train.precision = resolve(config.train.precision)
    teacher, model = build_unet(config.unet), build_unet(config.unet)
    header = load_weights(teacher, options.teacher, "unet")
    if header.extra.get(TAUGHT):
        raise UserError(f"{options.teacher}: is a student itself, expected the U-Net that it was made of")
    load_weights(model, options.init_from or options.teacher, "unet")
    for network in (teacher, model):
        compute_in(network, config.train.precision)
    code, ranks = weights_hash(autoencoder), ranks_here()
    known = taught(rounds, weights_hash(teacher), options.solver, options.teacher_steps)
    run = Run(config, "distil", model, {"autoencoder": code, TAUGHT: known}, config.train.precision, ranks)
    run.check(resume)
    latents = cached_latents(pairs, autoencoder, code, config, ranks)
    run.start(resume)
    train_rows, val_rows, validation = split_rows(latents, pairs, config.data.validation)
    shown = [pairs[row] for row in validation[:SHOWN]], latents.label_maps(val_rows[:SHOWN])

    def make_batch(step):
        rng = generator(seed, "distil", step)
        k = int(rng.integers(len(rounds)))
        rows = train_rows[batch_rows(seed, step, options.batch_size, len(train_rows))]
        z_T, labels = start_of(rounds[k], k, latents, rows, train_rows, schedule, rng)
        return z_T, labels, np.full(len(rows), k)

    exact = config.train.precision == "float32" or jt.flags.use_cuda
    student = CheckpointedUNet(model, exact) if config.train.checkpointing == "blocks" else model
    cached = CachedUNet(teacher, config.sampling.spade_cache_gb)

    def follow(network, z_T, labels, r):
        return distillation_loss(network, guided(cached, r.guidance), jt.array(z_T), jt.array(labels), r, schedule,
                                 options.solver, options.teacher_steps)

    for z_T, labels, k in run.batches(make_batch):           # from the saved step to the last
        run.step(follow(student, z_T, labels, rounds[k[0]]))  # AdamW, moving average, log line
        if run.due("save"):
            metrics = {}
            if run.writes:
                with run.averaged_weights():
                    metrics = validate(lambda *case: follow(model, *case), latents, val_rows, rounds, schedule, seed)
            run.save(metrics)
        if run.due("sample") and run.writes:
            with run.averaged_weights():
                picture = preview(model, autoencoder, *shown, schedule, config, config.sampling)
            run.save_picture(picture)


def check_lessons(options, rounds):
    """UserError where a config says neither whom a student shall learn from nor what."""
    if not options.teacher:
        raise UserError("train.distil.teacher is empty, expected the checkpoint of a U-Net: --set train.distil.teacher=FILE")
    other = sorted({r.sampler for r in rounds} - {"distilled"})
    if other:
        raise UserError(f"sampling.rounds: sampler is {', '.join(other)}, expected distilled in every round: a student is "
                        "taught the rounds that it will paint; configs/iidm_turbo.yaml has some")


def start_of(r, k, latents, rows, others, schedule, rng):
    """z_T (B, C, h, w) and labels of rows at the start of round k, as in Algorithm 2: the first begins with another picture,
    the style reference, the later ones with a picture of the mask. others: rows to take references from."""
    z_0, labels = rows_of(latents, rows)
    if k == 0:
        z_0 = np.ascontiguousarray(latents.z[np.sort(rng.choice(others, len(rows)))])
    eps = rng.standard_normal(z_0.shape, dtype=np.float32)
    if r.from_noise:
        return eps, labels
    return q_sample(z_0, alpha_bar_at(schedule, r.t_noise or r.t_start), eps).astype(np.float32), labels            # Eq. (1)


def validate(follow, latents, rows, rounds, schedule, seed):
    """{"val_loss", "val_z_0_error"}: how far the student is from the teacher on held-out rows, in every round, always from the
    same starts. follow: callable (z_T, labels, round) -> losses."""
    found = []
    for k, r in enumerate(rounds):
        rng = generator(seed, "distil validation", k)
        for row in rows[:VALIDATED]:
            with jt.no_grad():
                losses = follow(*start_of(r, k, latents, np.array([row]), rows, schedule, rng), r)
            found.append({name: float(value.numpy().mean()) for name, value in losses.items()})
    return {f"val_{name}": float(np.mean([losses[name] for losses in found])) for name in found[0]}

"""Distillation of a guided sampler into a student that needs a few calls a round and no second branch.

Guidance goes into the student's weights, as in Meng et al. 2023, "On Distillation of Guided Diffusion Models", and several
steps of the teacher become one of the student's, as in Salimans & Ho 2022, "Progressive Distillation for Fast Sampling of
Diffusion Models". The student is taught along its own trajectories of the round, for these are what it will meet, not along
noised photos.
"""
import numpy as np

from ldm.ddim import ddim_step
from ldm.dpm_solver import predicted_z_0
from ldm.guidance import eps_channels
from ldm.losses import mean_per_sample
from ldm.sample import stepper
from ldm.schedule import alpha_bar_at, points_of
from runtime.backend import jt


def distillation_loss(student, teacher, z_T, labels, round_, schedule, solver="dpm++2m", teacher_steps=2):
    """Per-sample losses {"loss", "z_0_error"}, each (B,), means over the calls of a round that begins at z_T (B, C, h, w).

    student: callable (z, t, labels) -> eps (B, C or 2C, h, w), t (B,); teacher: the same, guided, t a number, called without
    gradient; labels: (B, h, w); round_: the student's, a RoundConfig of sampler "distilled". From one of its timesteps to the
    next the teacher takes teacher_steps steps of a solver.
    """
    points, z_t, losses, errors = points_of(round_, schedule), z_T, [], []
    for i in reversed(range(len(points))):
        t, level, level_prev = points.timesteps[i].item(), float(points.alpha_bar[i]), float(points.alpha_bar_prev[i])
        t_prev = points.timesteps[i - 1].item() if i else 0
        z_prev = solved(teacher, z_t, labels, np.linspace(t, t_prev, teacher_steps + 1), level_prev, schedule, solver)
        target = z_0_that_leads(z_t, z_prev, level, level_prev)
        eps = eps_channels(student(z_t, jt.array(np.full(z_t.shape[0], t)), labels), z_t)
        error = mean_per_sample((predicted_z_0(z_t, eps, level) - target) ** 2)
        losses.append(max(level / (1 - level), 1.0) * error)                  # truncated SNR, section 4 of Salimans & Ho
        errors.append(error)
        z_t = ddim_step(z_t, eps.detach(), level, level_prev).detach()
        z_t.sync()
    return {"loss": sum(losses) / len(points), "z_0_error": sum(errors) / len(points)}


def solved(teacher, z, labels, t, level_end, schedule, solver):
    """Where a solver gets from z (B, C, h, w) at t[0] by the timesteps t, falling; level_end: alpha_bar at t[-1], or 1 where
    the last step is to lead to z_0."""
    levels, step = [*alpha_bar_at(schedule, t[:-1]).tolist(), level_end], stepper(solver)
    with jt.no_grad():
        for i, at in enumerate(t[:-1]):
            z = step(z, teacher(z, number(at), labels), levels[i], levels[i + 1], 0.0)
            z.sync()
    return z.detach()


def number(t):
    """A timestep as networks take it: an int where it is whole."""
    return int(t) if t == int(t) else float(t)


def z_0_that_leads(z_t, z_prev, alpha_bar_t, alpha_bar_prev):
    """The prediction of z_0 with which one step of DDIM from z_t gives z_prev: ddim_step() solved for it."""
    ratio = ((1 - alpha_bar_prev) / (1 - alpha_bar_t)) ** 0.5
    return (z_prev - ratio * z_t) * (1 / (alpha_bar_prev ** 0.5 - ratio * alpha_bar_t ** 0.5))


def taught(rounds, teacher, solver, teacher_steps):
    """What a student's checkpoint says of it: the rounds it may be used in, and what it was taught by. teacher: a hash."""
    return {"teacher": teacher, "solver": solver, "teacher_steps": teacher_steps, "rounds": [lesson(r) for r in rounds]}


def lesson(round_):
    """The part of a RoundConfig that a student knows by heart, as JSON holds it."""
    return {"t_start": round_.t_start, "steps": round_.steps, "spacing": round_.spacing,
            "timesteps": [float(t) for t in round_.timesteps], "guidance": float(round_.guidance),
            "from_noise": round_.from_noise}

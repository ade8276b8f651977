"""Distillation on networks that are formulas: what a student is taught is where its teacher gets to."""
import numpy as np
import pytest

from configs.schema import ConfigError, RoundConfig
from ldm.algorithm2 import calls
from ldm.ddim import ddim_step
from ldm.distillation import distillation_loss, lesson, solved, z_0_that_leads
from ldm.guidance import guided, guided_in
from ldm.sample import denoise
from ldm.schedule import alpha_bar_at, make_schedule, points_of
from runtime.backend import jt

SCHEDULE = make_schedule()
TURBO = RoundConfig(sampler="distilled", t_start=598, steps=3, timesteps=[598, 400, 150], guidance=3.0)


class Formula:
    """eps = z a + t b + labels c, called with one t or one a row."""

    def __init__(self, scale=0.3):
        self.scale, self.seen = jt.array(np.float32(scale)), []

    def __call__(self, z, t, labels):
        self.seen.append(t if isinstance(t, (int, float)) else t.numpy().tolist())
        t = t.reshape(-1, 1, 1, 1) if isinstance(t, jt.Var) else t
        return self.scale * z + t / 2000 + 0.1 * labels.unsqueeze(1)


@pytest.fixture
def start(rng):
    labels = rng.integers(0, 5, (2, 4, 6)).astype(np.int32)
    return jt.array(rng.standard_normal((2, 3, 4, 6), dtype=np.float32)), jt.array(labels)


def test_the_target_leads_where_the_teacher_got_to(rng):
    z_t, z_prev = (jt.array(rng.standard_normal((2, 3, 4, 6), dtype=np.float32)) for _ in range(2))
    for level, level_prev in ((0.02, 0.3), (0.5, 0.9), (0.7, 1.0)):
        target = z_0_that_leads(z_t, z_prev, level, level_prev)
        eps = (z_t - level ** 0.5 * target) * (1 - level) ** -0.5
        np.testing.assert_allclose(ddim_step(z_t, eps, level, level_prev).numpy(), z_prev.numpy(), atol=2e-5)


def test_the_teacher_follows_its_solver_over_its_own_steps(start):
    z, labels = start
    t = [598, 400, 150]
    whole = solved(Formula(), z, labels, np.array([*t, 0]), 1.0, SCHEDULE, "unipc")
    round_ = RoundConfig(sampler="unipc", t_start=598, steps=3, timesteps=t)
    expected = denoise(Formula(), z, labels, points_of(round_, SCHEDULE), "unipc")
    np.testing.assert_allclose(whole.numpy(), expected.numpy(), atol=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_one_step_of_ddim(start):
    losses = distillation_loss(Formula(), Formula(), *start, TURBO, SCHEDULE, "ddim", 1)
    assert losses["loss"].shape == [2] and losses["loss"].numpy().max() < 1e-10


def test_more_steps_of_the_teacher_and_guidance_are_something_to_learn(start):
    plain = distillation_loss(Formula(), Formula(), *start, TURBO, SCHEDULE, "dpm++2m", 2)["loss"].numpy()
    strong = distillation_loss(Formula(), guided(Formula(), 3.0), *start, TURBO, SCHEDULE, "ddim", 1)["loss"].numpy()
    assert plain.min() > 1e-6 and strong.min() > 1e-3


def test_student_and_teacher_are_called_where_the_round_says(start):
    student, teacher = Formula(), Formula()
    distillation_loss(student, teacher, *start, TURBO, SCHEDULE, "dpm++2m", 2)["loss"].sync()
    assert student.seen == [[598, 598], [400, 400], [150, 150]]
    assert teacher.seen == [598, 499, 400, 275, 150, 75]


def test_the_gradient_is_the_students_alone(start):
    student, teacher = Formula(), Formula()
    for formula in (student, teacher):
        formula.scale = formula.scale.clone()
        formula.scale.start_grad()
    loss = distillation_loss(student, teacher, *start, TURBO, SCHEDULE)["loss"].sum()
    ours, theirs = jt.grad(loss, [student.scale, teacher.scale])
    assert abs(ours.item()) > 1e-3 and theirs.item() == 0


def test_descending_the_loss_brings_the_students_round_to_the_teachers(start):
    z, labels = start
    student, teacher = Formula(0.1), Formula(0.3)
    there = solved(teacher, z, labels, np.linspace(598, 0, 7), 1.0, SCHEDULE, "dpm++2m").numpy()
    paint = lambda: denoise(guided_in(student, TURBO), z, labels, points_of(TURBO, SCHEDULE), "distilled").numpy()
    before = np.abs(paint() - there).mean()
    for _ in range(60):
        scale = student.scale.clone()
        scale.start_grad()
        student.scale = scale
        loss = distillation_loss(student, teacher, z, labels, TURBO, SCHEDULE)["loss"].sum()
        student.scale = (scale - 0.002 * jt.grad(loss, scale)).detach()
    assert np.abs(paint() - there).mean() < 0.35 * before


def test_a_student_costs_one_call_a_step_and_is_not_guided_again(start):
    z, labels = start
    model = Formula()
    assert calls(TURBO, SCHEDULE) == 3
    guided_in(model, TURBO)(z, 400, labels)
    assert len(model.seen) == 1
    with pytest.raises(ConfigError, match="its guidance is in the weights"):
        RoundConfig(sampler="distilled", guidance_interval=[100, 500]).check()


def test_a_lesson_names_what_a_round_was_taught():
    assert lesson(TURBO) == {"t_start": 598, "steps": 3, "spacing": "uniform", "timesteps": [598.0, 400.0, 150.0],
                             "guidance": 3.0, "from_noise": False}
    assert alpha_bar_at(SCHEDULE, TURBO.timesteps)[0] < 0.05

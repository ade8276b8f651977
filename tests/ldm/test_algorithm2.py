import numpy as np
import pytest

from configs.schema import RoundConfig, SamplingConfig
from ldm.algorithm2 import evaluations, synthesise
from ldm.colour_transfer import transfer
from ldm.noise import normal
from ldm.pixels import from_uint8, through_jpeg
from ldm.schedule import alpha_bar_at, make_schedule
from runtime.backend import jt

schedule = make_schedule("linear")
rng = np.random.default_rng(0)
references = rng.integers(0, 256, size=(5, 24, 40, 3), dtype=np.uint8)
labels = rng.integers(0, 29, size=(5, 6, 10)).astype(np.int32)
names = ["a.png", "b.png", "c.png", "d.png", "e.png"]


class Autoencoder:
    """z is every fourth pixel, and back; keeps what it was given."""

    def __init__(self):
        self.encoded = []

    def encode(self, x):
        self.encoded.append(x.numpy())
        return jt.array(np.ascontiguousarray(x.numpy()[:, :, ::4, ::4]))

    def decode(self, z):
        return jt.array(np.repeat(np.repeat(z.numpy(), 4, 2), 4, 3))


class Model:
    """The exact eps of one picture that depends on the mask alone; keeps what it was given."""

    def __init__(self):
        self.calls = []

    def target(self, labels):
        return np.stack([labels / 14 - 1, 1 - labels / 14, np.zeros(labels.shape)], 1).astype(np.float32)

    def __call__(self, z, t, labels):
        self.calls.append((t, z.numpy(), labels.numpy()))
        alpha_bar = alpha_bar_at(schedule, t)
        eps = (z.numpy() - alpha_bar ** 0.5 * self.target(labels.numpy())) / (1 - alpha_bar) ** 0.5
        return jt.array(eps.astype(np.float32))


def run(sampling, rows=slice(None), model=None, autoencoder=None, progress=None):
    autoencoder, model = autoencoder or Autoencoder(), model or Model()
    return synthesise(autoencoder.encode, autoencoder.decode, model, references[rows], labels[rows],
                      list(np.array(names)[rows]), sampling, schedule, progress=progress)


three_rounds = SamplingConfig(rounds=[RoundConfig(t_start=80, steps=5, guidance=1.0),
                                      RoundConfig(t_start=140, steps=8, guidance=1.0, sampler="ddpm"),
                                      RoundConfig(t_start=50, steps=2, guidance=2.0, eta=0.5)])

fast_rounds = SamplingConfig(rounds=[
    RoundConfig(t_start=580, steps=6, guidance=2.0, sampler="dpm++2m", spacing="logsnr", guidance_interval=[50, 400]),
    RoundConfig(t_start=140, steps=8, guidance=2.0, sampler="dpm++2m_sde", guidance_rescale=0.7),
    RoundConfig(t_start=380, steps=5, guidance=1.0, sampler="unipc", spacing="logsnr")])


@pytest.mark.parametrize("round_", [fast_rounds.rounds[0], fast_rounds.rounds[2]])
def test_without_guidance_at_the_end_a_fast_solvers_image_is_what_the_model_makes_of_the_mask(round_):
    images, _ = run(SamplingConfig(rounds=[round_]))
    expected = (Model().target(labels) + 1) * 127.5
    np.testing.assert_allclose(images[:, ::4, ::4].transpose(0, 3, 1, 2), expected, atol=0.51)


def test_evaluations_count_one_outside_the_interval_of_guidance_and_the_count_is_true():
    model, done = Model(), []
    _, count = run(fast_rounds, model=model, progress=lambda: done.append(1))
    within = [50 <= t <= 400 for t, _, masks in model.calls if (masks >= 0).all()][:6]
    assert 0 < sum(within) < 6
    assert count == len(model.calls) == 6 + sum(within) + 2 * 8 + 5 == evaluations(fast_rounds, schedule)
    assert len(done) == sum(round_.steps for round_ in fast_rounds.rounds) == 6 + 8 + 5


def test_every_spacing_starts_from_the_same_noised_latent():
    def start(**options):
        model = Model()
        run(SamplingConfig(rounds=[RoundConfig(t_start=380, guidance=1.0, **options)]), model=model)
        return model.calls[0]

    t, z_T, _ = start(steps=20)
    for spacing in ("uniform", "logsnr"):
        for sampler in ("ddim", "unipc"):
            found = start(spacing=spacing, sampler=sampler, steps=3)
            assert found[0] == t == 380
            np.testing.assert_array_equal(found[1], z_T)


def test_a_round_may_name_its_timesteps():
    def calls(**options):
        model = Model()
        run(SamplingConfig(rounds=[RoundConfig(t_start=380, guidance=1.0, **options)]), model=model)
        return [t for t, _, _ in model.calls]

    assert calls(steps=4, timesteps=[380, 200, 30.5, 10]) == [380, 200, 30.5, 10]
    assert calls(steps=3, timesteps=[380, 190, 0]) == calls(steps=3)


def test_the_image_is_what_the_model_makes_of_the_mask():
    sampling = SamplingConfig(rounds=[RoundConfig(t_start=580, steps=30, guidance=1.0)] * 2)
    images, count = run(sampling)
    expected = (Model().target(labels) + 1) * 127.5
    assert images.dtype == np.uint8 and images.shape == references.shape and count == 60
    np.testing.assert_allclose(images[:, ::4, ::4].transpose(0, 3, 1, 2), expected, atol=0.51)


def test_the_winning_recipe_takes_1280_evaluations_and_the_count_is_true():
    assert evaluations(SamplingConfig()) == 1280
    model, done = Model(), []
    _, count = run(three_rounds, model=model, progress=lambda: done.append(1))
    assert count == len(model.calls) == 5 + 8 + 2 * 2 and len(done) == 5 + 8 + 2


def test_every_round_starts_from_the_noised_latent_of_the_recoloured_image():
    model, autoencoder = Model(), Autoencoder()
    run(three_rounds, model=model, autoencoder=autoencoder)
    np.testing.assert_array_equal(autoencoder.encoded[0], from_uint8(references).numpy())
    first_calls = [model.calls[0], model.calls[5], model.calls[13]]
    for k, (t, z_T, _) in enumerate(first_calls):
        round_ = three_rounds.rounds[k]
        assert t == round_.t_start
        z_0, eps = autoencoder.encoded[k][:, :, ::4, ::4], normal(0, names, k, (3, 6, 10), "start")
        level = schedule.alpha_bar[t]
        np.testing.assert_allclose(z_T, level ** 0.5 * z_0 + (1 - level) ** 0.5 * eps, atol=1e-6)      # Eq. (1)
    before, _ = run(SamplingConfig(rounds=three_rounds.rounds[:1]))
    recoloured = np.stack([transfer("cielab8", x_g, x_r) for x_g, x_r in zip(before, references)])      # Eq. (6)
    np.testing.assert_array_equal(autoencoder.encoded[1], from_uint8(recoloured).numpy())


def test_the_noise_may_be_of_another_timestep_than_the_first_call_as_published():
    model = Model()
    run(SamplingConfig(rounds=[RoundConfig(t_start=80, t_noise=100, steps=5, guidance=1.0)]), model=model)
    t, z_T, _ = model.calls[0]
    level = schedule.alpha_bar[100]
    z_0, eps = from_uint8(references).numpy()[:, :, ::4, ::4], normal(0, names, 0, (3, 6, 10), "start")
    assert t == 80
    np.testing.assert_allclose(z_T, level ** 0.5 * z_0 + (1 - level) ** 0.5 * eps, atol=1e-6)


def test_from_noise_never_looks_at_the_reference():
    model, autoencoder = Model(), Autoencoder()
    sampling = SamplingConfig(rounds=[RoundConfig(t_start=900, steps=10, guidance=1.0, from_noise=True)])
    _, count = run(sampling, model=model, autoencoder=autoencoder)
    assert autoencoder.encoded == [] and count == 10
    t, z_T, _ = model.calls[0]
    assert t == 900
    np.testing.assert_array_equal(z_T, normal(0, names, 0, (3, 6, 10), "start"))


@pytest.mark.parametrize("sampling", [three_rounds, fast_rounds], ids=["ddim and ddpm", "fast solvers"])
@pytest.mark.parametrize("rows", [[0], [3, 1], [4, 2, 0]])
def test_an_image_does_not_depend_on_its_batch_bit_for_bit(sampling, rows):
    np.testing.assert_array_equal(run(sampling, rows)[0], run(sampling)[0][rows])


def test_the_seed_changes_the_noise_and_nothing_else_does():
    def first_noise(seed):
        model = Model()
        run(SamplingConfig(rounds=three_rounds.rounds[:1], seed=seed), model=model)
        return model.calls[0][1]

    np.testing.assert_array_equal(first_noise(0), first_noise(0))
    assert not np.array_equal(first_noise(0), first_noise(1))


def test_truncation_darkens_by_at_most_one_level():
    rounds = [RoundConfig(t_start=580, steps=30, guidance=1.0)]
    rounded, cut = (run(SamplingConfig(rounds=rounds, truncate=truncate))[0].astype(int) for truncate in (False, True))
    assert set(np.unique(rounded - cut)) == {0, 1}


def test_between_rounds_images_may_pass_through_two_jpeg_files_as_published():
    def second_start(**options):
        autoencoder = Autoencoder()
        run(SamplingConfig(rounds=three_rounds.rounds[:2], **options), autoencoder=autoencoder)
        return autoencoder.encoded

    plain, filed = second_start(), second_start(jpeg_between_rounds=75)
    np.testing.assert_array_equal(plain[0], filed[0])                        # the reference itself is not filed
    before, _ = run(SamplingConfig(rounds=three_rounds.rounds[:1]))
    recoloured = np.stack([transfer("cielab8", x_g, x_r) for x_g, x_r in zip(through_jpeg(before, 75), references)])
    np.testing.assert_array_equal(filed[1], from_uint8(through_jpeg(recoloured, 75)).numpy())
    assert np.abs(plain[1] - filed[1]).max() > 0.02


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_latents_that_are_not_finite_fail_with_the_masks_name(value):
    """A decoder with a codebook makes a brown field of them, which no later check would see."""
    from ldm.algorithm2 import check_finite
    from runtime.errors import RunError
    z = np.random.default_rng(0).standard_normal((3, 3, 8, 12), dtype=np.float32)
    check_finite(jt.array(z), ["a", "b", "c"], 0)
    z[1, 2, 3, 4] = value
    with pytest.raises(RunError, match=r"^b: the latents of round 2 are not finite \(1 of 3 images"):
        check_finite(jt.array(z), ["a", "b", "c"], 1)

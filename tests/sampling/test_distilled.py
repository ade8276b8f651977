"""Students paint by what they were taught, others do not."""
import dataclasses

import pytest

from configs.reading import load_config
from configs.schema import LargeConfig, RoundConfig
from ldm.distillation import taught
from models.weights.checkpoint import TAUGHT, Header
from runtime.errors import UserError
from sampling.distilled import check_rounds

TURBO = load_config("iidm_turbo").sampling
STUDENT = Header("unet", {}, extra={TAUGHT: taught(TURBO.rounds, "a" * 64, "dpm++2m", 2)})
OTHER = Header("unet", {}, extra={"autoencoder": "b" * 64})


def test_what_was_taught_may_be_painted_and_a_part_of_it():
    check_rounds("s", STUDENT, TURBO)
    check_rounds("s", STUDENT, dataclasses.replace(TURBO, rounds=TURBO.rounds[:1]))
    check_rounds("o", OTHER, load_config("iidm_fast").sampling)


@pytest.mark.parametrize("change", [{"guidance": 5.0}, {"timesteps": [598, 440, 280, 100]}, {"sampler": "ddim"}])
def test_a_student_in_another_use_is_an_error_that_names_what_it_knows(change):
    rounds = [dataclasses.replace(TURBO.rounds[0], **change), *TURBO.rounds[1:]]
    with pytest.raises(UserError) as error:
        check_rounds("s", STUDENT, dataclasses.replace(TURBO, rounds=rounds))
    line, = str(error.value).splitlines()
    assert line.startswith("s: a student, round 1 is ") and "distilled, t = 598.0, 440.0, 280.0, 120.0, guidance 3.5" in line


def test_other_weights_do_not_paint_a_students_rounds():
    with pytest.raises(UserError, match="o: round 1 has the sampler distilled.*train.py --stage distil"):
        check_rounds("o", OTHER, TURBO)


def test_the_second_pass_of_a_larger_image_is_a_round_too():
    large = LargeConfig(width=1024, height=768, round=RoundConfig(t_start=300, steps=30))
    with pytest.raises(UserError, match="sampling.large.round is ddim"):
        check_rounds("s", STUDENT, dataclasses.replace(TURBO, large=large))


@pytest.mark.parametrize("said", ["all", [], {}, {"rounds": "all"}, {"rounds": []}, {"rounds": [{"t_start": 598}]}])
def test_metadata_that_is_not_whole_is_a_line(said):
    with pytest.raises(UserError, match="s: its metadata says .* of what it was taught, expected its rounds"):
        check_rounds("s", Header("unet", {}, extra={TAUGHT: said}), TURBO)

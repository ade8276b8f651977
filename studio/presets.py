"""The recipes that the page offers, and what a visitor's options make of one."""
import dataclasses
from dataclasses import dataclass

from configs.reading import load_config
from configs.schema import COLOUR_TRANSFERS, CONFIGS, ConfigError, SamplingConfig
from ldm.algorithm2 import evaluations
from runtime.errors import UserError

NAMED = (("published", "iidm", "Published recipe"),)
# Those that need no mask of the style picture, which a visitor's photo does not have.
TRANSFERS = tuple(name for name in COLOUR_TRANSFERS if not name.startswith("class_"))
WITHOUT_MASK = {"class_cielab": "cielab8", "class_monge_kantorovich": "monge_kantorovich"}
STEPS, FROM_NOISE = 8, 20             # of UniPC, in a round of `fast` (docs/sampling.md), and in one from pure noise


@dataclass
class Preset:
    """One way to sample. evaluations: of the network, for one picture."""
    title: str
    sampling: SamplingConfig
    evaluations: int

    @property
    def rounds(self):
        """Its rounds, RoundConfig."""
        return self.sampling.rounds

    def describe(self):
        """What the page shows of it."""
        first = self.rounds[0]
        solvers = " and ".join(dict.fromkeys(round_.sampler for round_ in self.rounds))
        steps = " + ".join(str(round_.steps) for round_ in self.rounds)
        return {"title": self.title, "hint": f"{solvers}, {steps} steps, {self.evaluations} network evaluations",
                "t_start": first.t_start, "rounds": len(self.rounds), "guidance": first.guidance,
                "colour_transfer": self.sampling.colour_transfer, "evaluations": self.evaluations}


def presets(own, schedule):
    """{id: Preset}, the first one the page's choice. own: the checkpoint's SamplingConfig; schedule: what it was trained on.

    `fast` has the rounds of `own` by a better solver, for the winning recipe that is iidm_fast; `sketch` is its first round,
    for live mode. A named recipe that does not lie on the schedule is left out. A colour transfer by classes becomes that
    of the whole picture. A student of distillation has the rounds that it was taught, and no others.
    """
    own = dataclasses.replace(own, colour_transfer=WITHOUT_MASK.get(own.colour_transfer, own.colour_transfer))
    if any(round_.sampler == "distilled" for round_ in own.rounds):
        first = dataclasses.replace(own, rounds=own.rounds[:1])
        return {"turbo": Preset("Turbo", own, evaluations(own, schedule)),
                "sketch": Preset("Sketch, one round", first, evaluations(first, schedule))}
    quick = dataclasses.replace(own, rounds=[quicker(round_) for round_ in own.rounds])
    found = {"fast": Preset("Fast", quick, evaluations(quick, schedule))}
    for id_, name, title in NAMED:
        if not (CONFIGS / f"{name}.yaml").exists():
            continue
        sampling = load_config(name).sampling
        try:
            for round_ in sampling.rounds:
                round_.check_schedule(len(schedule))
        except ConfigError:
            continue
        found[id_] = Preset(title, sampling, evaluations(sampling, schedule))
    sketch = dataclasses.replace(quick, rounds=quick.rounds[:1])
    if len(own.rounds) > 1:
        found["sketch"] = Preset("Sketch, one round", sketch, evaluations(sketch, schedule))
    same = [preset for preset in found.values() if preset.rounds == own.rounds]
    if not same:
        found["own"] = Preset("As trained", own, evaluations(own, schedule))
    order = ["fast", "sketch", "own", "published"]
    return {id_: found[id_] for id_ in order if id_ in found}


def quicker(round_):
    """A round in a few steps of UniPC, when it takes more."""
    steps = FROM_NOISE if round_.from_noise else STEPS
    if round_.steps <= steps:
        return round_
    return dataclasses.replace(round_, sampler="unipc", steps=steps, spacing="uniform", timesteps=[], eta=0.0, t_noise=0)


def applied(preset, wish, precision):
    """The SamplingConfig of a painting. wish: studio.asked.Asked. Raises UserError for what does not go with the preset."""
    rounds = [dataclasses.replace(round_) for round_ in preset.rounds[:wish.rounds]]
    if rounds[0].sampler == "distilled" and (wish.strength, wish.guidance) != (None, None):
        raise UserError("strength, guidance: these weights are a student of distillation, which knows its own alone")
    if wish.strength is not None:
        if rounds[0].from_noise:
            raise UserError("strength: this preset begins from pure noise, not from the style picture")
        rounds[0] = dataclasses.replace(rounds[0], t_start=wish.strength, timesteps=[], t_noise=0)
    if wish.guidance is not None:
        rounds = [dataclasses.replace(round_, guidance=float(wish.guidance)) for round_ in rounds]
    sampling = dataclasses.replace(preset.sampling, rounds=rounds, seed=wish.seed, precision=precision,
                                   colour_transfer=wish.colour_transfer or preset.sampling.colour_transfer)
    for round_ in rounds:
        round_.check()
    sampling.check()
    return sampling

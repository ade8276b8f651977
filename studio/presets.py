"""The recipes that the page offers, and what a visitor's options make of one."""
import dataclasses
from dataclasses import dataclass

from configs.schema import CONFIGS, ConfigError, SamplingConfig, load_config
from ldm.algorithm2 import evaluations
from runtime.errors import UserError

NAMED = (("turbo", "iidm_turbo", "Turbo"), ("fast", "iidm_fast", "Fast"), ("published", "iidm", "Published recipe"))


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

    A recipe that does not lie on that schedule is left out. `sketch` is the first round of `fast`: for live mode.
    """
    found = {}
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
    if "fast" in found:
        sampling = dataclasses.replace(found["fast"].sampling, rounds=found["fast"].rounds[:1])
        found["sketch"] = Preset("Sketch, one round", sampling, evaluations(sampling, schedule))
    same = [preset for preset in found.values() if preset.rounds == own.rounds]
    if not same:
        found["own"] = Preset("As trained", own, evaluations(own, schedule))
    order = ["fast", "turbo", "sketch", "own", "published"]
    return {id_: found[id_] for id_ in order if id_ in found}


def applied(preset, wish, precision):
    """The SamplingConfig of a painting. wish: studio.asked.Asked. Raises UserError for what does not go with the preset."""
    rounds = [dataclasses.replace(round_) for round_ in preset.rounds[:wish.rounds]]
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

"""A student of distillation paints by the rounds that it was taught, and nothing else paints by such rounds."""
from configs.schema import RoundConfig
from ldm.distillation import lesson
from models.weights.checkpoint import TAUGHT
from runtime.errors import UserError


def check_rounds(checkpoint, header, sampling):
    """UserError where a checkpoint is a student's and a round of a SamplingConfig is not one that it was taught, or where it is
    none and a round asks for one. header: the checkpoint's."""
    known = lessons_of(checkpoint, header)
    rounds = [(f"round {k}", r) for k, r in enumerate(sampling.rounds, start=1)]
    rounds += [("sampling.large.round", sampling.large.round)] if sampling.large.width else []
    problems = []
    for name, r in rounds:
        if r.sampler == "distilled" and not known:
            problems.append(f"{checkpoint}: {name} has the sampler distilled, expected another: these weights are no "
                            "student's; train.py --stage distil makes one of them")
        elif known and (r.sampler != "distilled" or lesson(r) not in known):
            problems.append(f"{checkpoint}: a student, {name} is {described(r)}, expected one that it was taught: "
                            + ", or ".join(described_lesson(one) for one in known))
    if problems:
        raise UserError(problems)


def lessons_of(checkpoint, header):
    """The rounds that a checkpoint was taught, [] where it is no student. UserError where its metadata is not whole."""
    if TAUGHT not in header.extra:
        return []
    found = header.extra[TAUGHT]
    known = found.get("rounds") if isinstance(found, dict) else None
    keys = set(lesson(RoundConfig()))
    if not isinstance(known, list) or not known or not all(isinstance(one, dict) and set(one) == keys for one in known):
        raise UserError(f"{checkpoint}: its metadata says {str(found)[:60]!r} of what it was taught, expected its rounds")
    return known


def described(r):
    """A RoundConfig for an error message."""
    return f"{r.sampler}, " + described_lesson(lesson(r)).partition(", ")[2]


def described_lesson(one):
    """A round that a student was taught, for an error message."""
    way = ", ".join(map(str, one["timesteps"])) or f"{one['steps']} steps from {one['t_start']}, {one['spacing']}"
    return f"distilled, t = {way}, guidance {one['guidance']}" + (", from noise" if one["from_noise"] else "")

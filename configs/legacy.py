"""The words of earlier versions: what they wrote into checkpoints, run states and manifests is read in today's.

A round used to say `steps`, the length of an evenly spaced grid of timesteps, and `start`, how many of its points are
taken, or with another spacing `levels`, how many instead; `published_offset` was the noise of the point above those.
"""
STAGE = {"start": "init_from", "mask_drop": "mask_dropout"}     # of train.autoencoder, train.unet and train.segmenter
ROUND = {"steps": 500, "start": 300, "spacing": "published", "levels": 0, "published_offset": False}   # defaults too
GONE = ("start", "levels", "published_offset")                  # what today's rounds do not have


def translate(tree):
    """A config tree (the JSON in a checkpoint) in today's words; what is in them already stays as it is."""
    sections = {name: part for name, part in tree.items() if isinstance(part, dict)}
    if "train" in sections:
        renamed = lambda stage: {STAGE.get(name, name): value for name, value in stage.items()}
        tree = {**tree, "train": {name: renamed(stage) if isinstance(stage, dict) else stage
                                  for name, stage in sections["train"].items()}}
    if "sampling" in sections:
        tree = {**tree, "sampling": translate_sampling(sections["sampling"], length(sections))}
    return tree


def translate_sampling(sampling, timesteps=1000):
    """A `sampling` section in today's words; timesteps: diffusion.timesteps."""
    if not isinstance(sampling.get("rounds"), list):
        return sampling
    return {**sampling, "rounds": [translate_round(round_, timesteps) for round_ in sampling["rounds"]]}


def translate_round(round_, timesteps=1000):
    """A round in today's words, along the same timesteps; one that is in them, or had no meaning, is as it was."""
    if not is_old(round_):
        return round_
    old = {**ROUND, **round_}
    steps, start, above = old["steps"], old["start"], bool(old["published_offset"])
    if not all(type(n) is int for n in (steps, start, timesteps)):
        return round_
    if not 1 <= start <= steps - above <= timesteps <= 1e6:
        return round_
    grid = old_grid(timesteps, steps)
    t = grid[:start]
    new = {name: value for name, value in round_.items() if name not in ROUND}
    new.update(t_start=t[-1], steps=start, spacing="uniform", timesteps=[], t_noise=grid[start] if above else 0)
    if old["spacing"] != "published":
        new.update(spacing=old["spacing"], steps=old["levels"] or start)
    elif len(t) > 1 and t != list(range(0, t[-1] + 1, t[1])):
        new.update(timesteps=[float(n) for n in reversed(t)])   # such a grid was not quite evenly spaced
    return new


def is_old(round_):
    """Whether a round is in the words of before."""
    return isinstance(round_, dict) and (any(name in round_ for name in GONE) or round_.get("spacing") == "published")


def old_grid(timesteps, steps):
    """`steps` timesteps: 0, s, 2s, ... with the smallest stride s that gives exactly so many, else rounded down."""
    grid = list(range(0, timesteps, -(-timesteps // steps)))
    return grid if len(grid) == steps else [i * timesteps // steps for i in range(steps)]


def old_words(tree):
    """A line for everything in a yaml's tree that is said in the words of before, with today's."""
    sections = {name: part for name, part in tree.items() if isinstance(part, dict)}
    lines = [f"train.{name}.{old} is now {new}" for name, stage in sections.get("train", {}).items()
             if isinstance(stage, dict) for old, new in STAGE.items() if old in stage]
    rounds = sections.get("sampling", {}).get("rounds")
    for round_ in filter(is_old, rounds if isinstance(rounds, list) else []):
        lines.append("sampling.rounds: start and a grid's steps are now t_start and steps"
                     + said(round_, length(sections)))
    return lines


def said(round_, timesteps):
    """The end of a line: a yaml's round in today's words, where it had a meaning."""
    new = translate_round(round_, timesteps)
    if new is round_:
        return ""
    first = {name: new.pop(name) for name in ("sampler", "t_start", "steps") if name in new}
    rest = {name: value for name, value in new.items() if value not in ([], 0, False, "uniform")}
    if "timesteps" in rest:
        rest["timesteps"] = f"[{rest['timesteps'][0]:g}, {rest['timesteps'][1]:g}, ..., 0]"
    return "; this round is {" + ", ".join(f"{name}: {value}" for name, value in {**first, **rest}.items()) + "}"


def length(sections):
    """diffusion.timesteps of a tree's sections."""
    return sections.get("diffusion", {}).get("timesteps", 1000)

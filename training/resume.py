"""Whether a run may go on from its saved state: what a step computes must be as it was."""
from configs.reading import config_dict, config_from
from models.weights.checkpoint import TAUGHT
from runtime.errors import UserError

# Options that do not change what a step computes: a resumed run may differ in them.
FREE = {"steps", "save_every", "sample_every", "keep", "keep_best", "workers", "validate_images", "inception", "segmenter",
        "best_by"}
# What a stage computes depends on these sections, besides its own options.
SECTIONS = {"autoencoder": ("autoencoder", "data"), "unet": ("autoencoder", "data", "unet", "diffusion"),
            "distil": ("autoencoder", "data", "unet", "diffusion"),
            "tiny": ("autoencoder", "data", "tiny"),
            "segmenter": ("data", "segmenter"), "gan": ("data", "gan")}
SHARED = {"autoencoder": ("seed",), "unet": ("seed", "precision"), "distil": ("seed", "precision"), "tiny": ("seed",),
          "segmenter": ("seed",), "gan": ("seed",)}                                         # of `train`


def check_resume(where, header, config, stage, extra):
    """UserError that names every option in which a config differs from that in a state's header. where: the
    state's file."""
    # The number of steps shapes a cosine decay.
    falls = getattr(config.train, stage).decay or stage == "gan" and config.gan.decay_from < 1
    free = FREE - {"steps"} if falls else FREE
    # What the state's version did not know yet has its default.
    old, new, problems = config_dict(config_from(header.config, whole=False)), config_dict(config), []
    if header.extra.get(TAUGHT) != extra.get(TAUGHT):
        problems.append(f"{where}: was taught other rounds, or by another teacher or solver, than the config says now")
    if header.extra.get("autoencoder") != extra.get("autoencoder"):
        problems.append(f"{where}: was trained on latents of another autoencoder than {config.autoencoder.path}")
    for section, options in (*((name, new[name]) for name in SECTIONS[stage]),
                             (f"train.{stage}", new["train"][stage]),
                             ("train", {name: new["train"][name] for name in SHARED[stage]})):
        before = old
        for part in section.split("."):
            before = before[part]
        problems += [f"{where}: {section}.{name} was {before.get(name)!r}, now {value!r}; expected the same to resume"
                     for name, value in options.items()
                     if before.get(name) != value and name not in free | {"path", "cache"}]
    if problems:
        raise UserError(problems)

"""Which of a run's checkpoints are the best."""
HIGHER = ("S", "M")        # of the metrics that a checkpoint may be ranked by, those that are better when higher


def score(metrics, best_by="auto"):
    """What a checkpoint is ranked by, the lower the better: the metric of train.unet.best_by; "auto" is the FID that was
    measured, else the validation loss."""
    fids = [name for name in metrics if name.startswith("fid")]
    name = {"auto": (fids or ["val_loss"])[0], "fid": (fids or ["fid"])[0]}.get(best_by, best_by)
    value = metrics.get(name, float("nan"))
    value = -value if name in HIGHER else value
    return value if value == value else float("inf")

"""Which of a run's checkpoints are the best."""
from pathlib import Path

from models.weights.checkpoint import kind_of, read_header

HIGHER = ("S", "M")        # of the metrics that a checkpoint may be ranked by, those that are better when higher


def score(metrics, best_by="auto"):
    """What a checkpoint is ranked by, the lower the better: the metric of train.unet.best_by; "auto" is the FID that was
    measured, else the validation loss."""
    fids = [name for name in metrics if name.startswith("fid")]
    name = {"auto": (fids or ["val_loss"])[0], "fid": (fids or ["fid"])[0]}.get(best_by, best_by)
    value = metrics.get(name, float("nan"))
    value = -value if name in HIGHER else value
    return value if value == value else float("inf")


def ranked(root, stage="unet"):
    """[(path, Header)] of a run's checkpoints of one stage, the best by train.STAGE.best_by first."""
    paths = sorted((Path(root) / "checkpoints").glob(f"{stage}-*.safetensors"))
    found = [(path, read_header(path, kind_of(stage))) for path in paths]
    best_by = lambda header: header.config.get("train", {}).get(stage, {}).get("best_by", "auto")
    return sorted(found, key=lambda item: (score(item[1].metrics, best_by(item[1])), -item[1].step))

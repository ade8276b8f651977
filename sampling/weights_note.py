"""The note on pretrained models that a hand-in carries (预训练模型说明.txt), from what the weights' files say of themselves.

A checkpoint of ours says how it was trained, what it began with and what it averages. Where a foreign file comes from, and
under which licence, stands in no file: the note leaves these to its author, and says how many are left.
"""
import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from runtime.errors import UserError
from runtime.files import sha256, write_bytes

NOTE = "预训练模型说明.txt"
OPEN = "（请填写 / fill in）"
FORMAT = "iidm-1"                     # of checkpoints written here
PURPOSE = {"unet": "去噪网络 U-Net", "autoencoder": "图像自编码器 autoencoder", "segmenter": "语义分割（仅评测）segmenter"}
COLUMNS = ("文件 file", "用途 purpose", "来源 source", "许可 licence", "sha256")


def write_note(folder, files):
    """Writes the note into a results folder unless one is there; returns a line that says what was done.

    files: the weights painted with. UserError where one is missing, or is not what the folder's manifest says.
    """
    path, folder = Path(folder) / NOTE, Path(folder)
    missing = [f"--weights {file}: no such file, expected weights" for file in files if not Path(file).is_file()]
    if missing:
        raise UserError(missing)
    painted = painted_with(folder / "manifest.json")
    rows = [row for file in files for row in rows_of(Path(file), painted)]
    if path.exists():
        return f"{path}: is there already, left as it is"
    if not rows:
        return f"{path}: not written; --weights names the files painted with"
    text = ["预训练模型说明 / Pretrained models", ""]
    for row in rows:
        text += [f"{name}: {value}" for name, value in zip(COLUMNS, row)] + [""]
    write_bytes(path, "\n".join(text).encode())
    left = sum(value == OPEN for row in rows for value in row)
    return f"{path}: {len(rows)} files" + (f"; {left} places are left to fill in" if left else "")


def painted_with(manifest):
    """{"unet", "autoencoder": hash of the weights} of a results folder; {} where it has no manifest that says so."""
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8"))["settings"]["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def rows_of(path, painted):
    """What the note says of a file: itself, what it averages, what its training began with."""
    header = metadata(path)
    if header is None:
        return [(path.name, OPEN, OPEN, OPEN, sha256(path))]
    kind, config = header["kind"], header["config"]
    own = header["step"] > 0                          # a foreign file converted has no steps
    expected = painted.get(kind)
    if expected and expected not in (weights_hash(path, ""), weights_hash(path, "raw.")):
        raise UserError(f"--weights {path}: these are not the {kind}'s weights that painted the folder, expected those with "
                        f"hash {expected[:12]} of its manifest.json")
    what = f"本项目训练, 第 {header['step']} 步 trained here, step {header['step']}"
    if header["parents"]:
        what = "本项目平均 averaged here of " + ", ".join(f"{Path(parent['file']).name} (step {parent['step']}, "
                                                       f"sha256 {parent['sha256'][:12]})" for parent in header["parents"])
    source, licence = (what, "自行训练 own") if own else (OPEN, OPEN)
    rows = [(path.name, PURPOSE.get(kind, kind), source, licence, sha256(path))]
    stage = config.get("train", {}).get(kind, {})
    begun = stage.get("init_from") or stage.get("start")                               # as earlier versions call it
    if own and begun:
        known = Path(begun).is_file()
        inside = metadata(Path(begun)) if known else None
        source, licence = ("本项目训练 trained here", "自行训练 own") if inside and inside["step"] else (OPEN, OPEN)
        rows.append((Path(begun).name, f"初始化 {path.name} began with it", source, licence, sha256(begun) if known else OPEN))
    return rows


def metadata(path):
    """{"kind", "config", "step", "parents"} of a checkpoint written here, None for any other file."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            values = file.metadata() or {}
        if values.get("format") != FORMAT:
            return None
        return {"kind": values["kind"], **{name: json.loads(values[name]) for name in ("config", "step", "parents")}}
    except (SafetensorError, OSError, ValueError, KeyError):
        return None


def weights_hash(path, prefix):
    """The hash that a manifest names weights by, of the tensors under a prefix ("" = the plain names)."""
    digest = hashlib.sha256()
    with safe_open(str(path), framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith(prefix) and (prefix or not name.startswith("raw."))]
        for name in sorted(names):
            digest.update(name[len(prefix):].encode() + b"\0")
            digest.update(np.ascontiguousarray(file.get_tensor(name), dtype="<f4").data)
    return digest.hexdigest()

"""One self-contained page of a run, fit to be sent: curves, pictures over time, checkpoints, config and environment.

    python -m training.report runs/NAME                   writes runs/NAME/report.html
"""
import argparse
import base64
import html
import io
import platform
from pathlib import Path

import numpy as np
from PIL import Image

from runtime.errors import UserError, run_script
from runtime.files import write_bytes
from runtime.log import RunLog

STAGES = ("unet", "distil", "autoencoder", "tiny", "segmenter", "gan")
CURVES = (("losses", ("loss", "val_loss", "mse", "l1", "vb", "val_mse", "val_vb"), True),
          ("loss by quarter of the timesteps, q1 the least noise", ("loss_q1", "loss_q2", "loss_q3", "loss_q4"), True),
          ("the adversary's losses, and its weight", ("adversarial", "d_real", "d_fake", "adaptive"), False),
          ("PSNR", ("val_psnr",), False), ("LPIPS", ("val_lpips",), False),
          ("share of codes that are used", ("codes_used", "val_codes"), False),
          ("FID's stand-in", ("fid_latents",), False), ("S", ("S",), False), ("M", ("M",), False),
          ("learning rate", ("lr",), False),
          ("gradient norm", ("gradient_norm",), True),
          ("moving average's decay", ("ema_decay",), False), ("images per second", ("images_per_second",), False),
          ("seconds a step", ("data_seconds", "compute_seconds"), False), ("memory, GB", ("memory_gb",), False))
SHOWN = 6                  # pictures over time
WIDTH, HEIGHT, LEFT, BOTTOM = 620, 260, 64, 28
INKS = ("#1f5fa8", "#c4572a", "#3c8a4e", "#7d4a9c", "#8a7a1c", "#555555", "#b03060")
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2em auto;padding:0 1em;color:#1c2430}
h1{font-size:1.6em;margin-bottom:0}h2{margin-top:2em;border-bottom:1px solid #d5dae0}p.note{color:#667}
table{border-collapse:collapse}td,th{padding:.25em .9em;text-align:right;border-bottom:1px solid #e4e8ec}th{font-weight:600}
td:first-child,th:first-child{text-align:left}tr.best td{background:#eaf4ea}
.curves{display:flex;flex-wrap:wrap;gap:16px}figure{margin:0 0 1.4em}figcaption{color:#667}img{max-width:100%}
pre{background:#f5f7f9;padding:1em;overflow:auto;font-size:12.5px}svg text{font:12px system-ui,sans-serif;fill:#445}"""


def report(root):
    """The page of a run's folder, as text. UserError where it is none."""
    root = Path(root)
    stages = [stage for stage in STAGES if (root / stage / "log.jsonl").is_file()]
    if not stages:
        raise UserError(f"{root}: no log of a stage in it, expected a run's folder")
    body = [f"<h1>{html.escape(root.name)}</h1>"]
    for stage in stages:
        log = RunLog(root / stage).history()
        body += [f"<h2>{stage}</h2>", summary(log), f'<div class="curves">{"".join(curves(log))}</div>',
                 checkpoints(root, stage), *pictures(root / stage / "samples")]
    config = root / "config.yaml"
    body += ["<h2>config</h2>", f"<pre>{html.escape(config.read_text(encoding='utf-8') if config.is_file() else 'none')}</pre>",
             "<h2>environment</h2>", f"<pre>{html.escape(environment())}</pre>"]
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(root.name)}</title>'
            f"<style>{STYLE}</style>{''.join(body)}</html>")


def summary(log):
    """How far it is, how fast, and the last losses, in a line."""
    lines = [entry for entry in log if entry["kind"] == "train"]
    if not lines:
        return '<p class="note">nothing logged yet</p>'
    last = lines[-1]
    fast = float(np.median([entry["steps_per_second"] for entry in lines]))
    return (f'<p class="note">step {last["step"]:,}, loss {last["loss"]:.4g}, {fast:.3g} steps per second '
            "(median of the log)</p>")


def curves(log):
    """One figure for each of CURVES that the log has numbers of."""
    for title, names, log_y in CURVES:
        series = {name: [(entry["step"], entry[name]) for entry in log if isinstance(entry.get(name), (int, float))]
                  for name in names}
        series = {name: points for name, points in series.items() if len(points) > 1}
        if series:
            legend = "".join(f' <span style="color:{ink}">{html.escape(name)}</span>' for ink, name in zip(INKS, series))
            yield f"<figure><figcaption>{title}:{legend}</figcaption>{chart(series, log_y)}</figure>"


def chart(series, log_y=False):
    """{name: [(step, value)]} as an SVG."""
    values = np.array([value for points in series.values() for _, value in points], dtype=float)
    log_y = log_y and values.min() > 0
    scale = np.log10 if log_y else (lambda value: value)
    low, high = float(scale(values.min())), float(scale(values.max()))
    if high - low <= 1e-6 * abs(high):                       # a constant lies in the middle
        low, high = low - 0.1 * (abs(low) or 1), high + 0.1 * (abs(high) or 1)
    first, last = (pick(step for points in series.values() for step, _ in points) for pick in (min, max))
    x = lambda step: LEFT + (WIDTH - LEFT - 12) * (step - first) / max(last - first, 1)
    y = lambda value: 12 + (HEIGHT - BOTTOM - 12) * (high - float(scale(value))) / (high - low)
    parts = []
    for level in np.linspace(low, high, 5):
        value = 10 ** level if log_y else level
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e4e8ec"/>'
                     f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for step in (first, (first + last) // 2, last):
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{step:,}</text>')
    for ink, points in zip(INKS, series.values()):
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{ink}" stroke-width="1.8"/>')
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">{"".join(parts)}</svg>'


def checkpoints(root, stage):
    """The checkpoints that are kept, the best first."""
    from models.weights.ranking import ranked
    found = ranked(root, stage)
    if not found:
        return ""
    names = sorted({name for _, header in found for name in header.metrics})
    rows = ["<tr><th>checkpoint</th>" + "".join(f"<th>{html.escape(name)}</th>" for name in names) + "</tr>"]
    for i, (path, header) in enumerate(found):
        value = lambda name: f"{header.metrics[name]:.5g}" if name in header.metrics else ""
        cells = "".join(f"<td>{value(name)}</td>" for name in names)
        rows.append(f'<tr{" class=best" if i < 2 else ""}><td>{html.escape(path.name)}</td>{cells}</tr>')
    return (f'<table>{"".join(rows)}</table>'
            '<p class="note">best first; the two marked are those of ensemble.py --run --top 2</p>')


def pictures(folder):
    """Pictures over time, evenly chosen, the newest last, within the page."""
    found = sorted(folder.glob("*.png")) if folder.is_dir() else []
    chosen = [found[i] for i in sorted({round(i) for i in np.linspace(0, len(found) - 1, min(SHOWN, len(found)))})]
    for path in chosen:
        buffer = io.BytesIO()
        Image.open(path).convert("RGB").save(buffer, "JPEG", quality=88)
        data = base64.b64encode(buffer.getvalue()).decode()
        yield (f'<figure><img src="data:image/jpeg;base64,{data}" alt="">'
               f"<figcaption>step {int(path.stem):,}</figcaption></figure>")


def environment():
    """Of the machine that writes the page."""
    from runtime.backend import DEVICE, jt
    return "\n".join((f"Python {platform.python_version()}, NumPy {np.__version__}, Jittor {jt.__version__} on the {DEVICE}",
                      platform.platform()))


def main(argv):
    """Writes a run's page. argv: the words after the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument("--output", metavar="FILE", help="the page (default: report.html in it)")
    args = parser.parse_args(argv)
    path = Path(args.output or Path(args.run) / "report.html")
    write_bytes(path, report(args.run).encode())
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    run_script(main)

"""The attempts that need processes of their own: kills, Ctrl-C, two at once, broken terminals, a full disk, a long run."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

from safetensors import safe_open

from tests.helpers import ROOT
from tests.test_train import options as train_options
from tests.torture.attempts import Attempt, folder_of

HOURS = 2 * 3600


def slow(*args, **kwargs):
    """An attempt with processes in it, which may take long."""
    return Attempt(*args, **{"paints": True, **kwargs}, seconds=HOURS)


def attempts(name, bench, args):
    """The attempts of a family by its name."""
    return {"terminals": terminals, "interrupts": interrupts, "races": races, "full disk": full_disk,
            "sampling kills": lambda bench: sampling_kills(bench, args.kills),
            "training kills": lambda bench: training_kills(bench, args.kills),
            "soak": lambda bench: soak(bench, args.soak)}[name](bench)


def start(*words, **options):
    """A script in a process group of its own."""
    return subprocess.Popen([sys.executable, *map(str, words)], text=True, start_new_session=True,
                            **{"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def finish(process, seconds=900):
    """(status, stderr) at the end of a process; one that hangs is killed."""
    try:
        _, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        end(process)
        process.communicate()
        return -1, f"hang: no end in {seconds} s"
    return process.returncode, err or ""


def end(process):
    """Kills a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def terminals(bench):
    """Output that goes nowhere, and terminals that do not know the characters."""
    command = ["test.py", *bench.test("none", input_path=bench.root / "nöne→")]
    shell = lambda redirect, env="": ["bash", "-c", f"{env} {sys.executable} \"$@\" {redirect}; exit ${{PIPESTATUS[0]}}", "-",
                                      *map(str, command)]
    help_ = ["bash", "-c", f"{sys.executable} test.py --help | head -1; exit ${{PIPESTATUS[0]}}"]
    for what, words, expected in (
            ("stderr closed", shell("2>&-"), (2,)), ("stdout closed", shell(">&-"), (2,)),
            ("both closed", shell(">&- 2>&-"), (2,)),
            ("stderr full", shell("2>/dev/full"), (2,)), ("stdin closed", shell("<&-"), (2,)),
            ("ascii", shell("", "PYTHONIOENCODING=ascii"), (2,)), ("latin", shell("", "PYTHONIOENCODING=latin1"), (2,)),
            ("C locale", shell("", "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"), (2,)), ("head", help_, (0, 141))):
        def run(words=words, quiet="closed" in what or "full" in what or "head" in what):
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=600)
            return done.returncode, done.stderr or ("error: (nowhere)" if quiet else "")
        yield slow("terminals", what, run, expected, paints=False)


def interrupts(bench):
    """Ctrl-C to the whole process group, as a terminal sends it, at several moments; then once more."""
    for delay in (0.5, 2, 4, 8, 15):
        def run(delay=delay):
            process = start("test.py", *bench.test(bench.scratch() / "r", "--limit", 4))
            time.sleep(delay)
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
                time.sleep(0.3)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
            status, err = finish(process, 120)
            # Before Python has come to run_script() the interpreter itself ends with the signal.
            early = status == -signal.SIGINT or (delay < 1 and "KeyboardInterrupt" in err)
            return (130, "interrupted") if early else (status, err)
        yield slow("interrupts", f"after {delay} s", run, (0, 130), kept=bench.kept)


def races(bench):
    """Two processes with other seeds in one folder: one paints, the other is told."""
    for i in range(3):
        folder = bench.scratch() / "r"

        def run(folder=folder):
            both = [start("test.py", *bench.test(folder, "--seed", seed)) for seed in (1, 2)]
            ended = sorted(finish(process) for process in both)
            good = [status for status, _ in ended] == [0, 2]
            return (0, "") if good else (1, f"failed: {ended}")
        yield slow("races", f"two seeds, {i}", run, (0,), kept=bench.kept)


def sampling_kills(bench, kills):
    """A run that is killed again and again ends with the pictures of one that was not."""
    rng, masks = random.Random(0), folder_of(bench.root, "many")
    count = 2 * kills + 10
    from data.synthetic import write_dataset
    write_dataset(masks, train=6, test=count, width=64, height=48, seed=4, progress=False)
    where = dict(input_path=masks / "test", img_path=masks / "train")
    whole, killed = bench.scratch() / "whole", bench.scratch() / "killed"
    status, err = finish(start("test.py", *bench.test(whole, "--limit", count, **where)))
    yield slow("sampling kills", "the run without a kill", lambda: (status, err), (0,))
    images = lambda folder: {path.name: path.read_bytes() for path in folder.glob("[!.]*.jpg")}
    for i in range(kills):
        def run():
            process, begun = start("test.py", *bench.test(killed, "--limit", count, "--batch_size", 1, **where)), None
            before = len(images(killed)) if killed.is_dir() else 0
            deadline = time.monotonic() + 600
            while process.poll() is None and time.monotonic() < deadline:
                if killed.is_dir() and len(list(killed.glob("*.jpg"))) > before:
                    begun = True
                    break
                time.sleep(0.005)
            time.sleep(rng.random() * 0.05)
            end(process)
            process.communicate()
            return (0, "") if begun else (1, "failed: it painted nothing before it was killed")
        yield slow("sampling kills", f"kill {i + 1}", run, (0,), kept=bench.kept, after=lambda: next(
            (f"{name} differs" for name, data in images(killed).items() if data != images(whole).get(name)), None))

    def last():
        status, err = finish(start("test.py", *bench.test(killed, "--limit", count, **where)))
        return (status, err) if status or images(killed) == images(whole) else (1, "failed: the pictures differ")
    yield slow("sampling kills", "the end", last, (0,), kept=bench.kept)


def training_kills(bench, kills):
    """A training that is killed again and again, in saves too, ends with the weights of one that was not."""
    rng, steps = random.Random(1), 3 * kills + 6

    def command(folder):
        lines = train_options(folder, **{"train.autoencoder.steps": steps, "train.autoencoder.save_every": 1,
                                         "train.autoencoder.sample_every": steps, "train.autoencoder.keep": 2})
        return ["train.py", "--config", "mini", "--input_path", bench.data / "train", "--stage", "autoencoder", *lines]
    whole, killed = bench.scratch(), bench.scratch()
    result = f"run/checkpoints/autoencoder-{steps:08d}.safetensors"
    status, err = finish(start(*command(whole)))
    yield slow("training kills", "the run without a kill", lambda: (status, err), (0,))
    folder = killed / "run/autoencoder"
    for i in range(kills):
        def run(in_save=i % 2 == 0):
            resume = ["--resume"] if (folder / "state.safetensors").exists() else []
            process = start(*command(killed), *resume)
            stamp = lambda: (folder / "state.safetensors").stat().st_mtime_ns if (folder / "state.safetensors").exists() else 0
            before, deadline, seen = stamp(), time.monotonic() + 600, False
            while process.poll() is None and time.monotonic() < deadline:
                half = in_save and any((killed / "run").glob("*/.*.tmp.safetensors"))
                if (half and before) or stamp() != before:
                    seen = True
                    break
                time.sleep(0.001)
            if not in_save:
                time.sleep(rng.random() * 0.3)
            end(process)
            _, text = process.communicate()
            return (0, "") if seen else (1, f"failed: no step before the kill: {text[-300:]}")
        yield slow("training kills", f"kill {i + 1}{' in a save' if i % 2 == 0 else ''}", run, (0,), kept=bench.kept)

    def last():
        status, err = finish(start(*command(killed), *["--resume"]))
        if status == 0 and contents(killed / result) != contents(whole / result):
            return 1, "failed: the weights differ"
        left = [path for path in killed.rglob("*.tmp*")]
        return (status, err) if status or not left else (1, f"failed: {left[0]} was left")
    yield slow("training kills", "the end", last, (0,), kept=bench.kept)


def contents(path):
    """A checkpoint's tensors, to the bit, and its header but for the config, which names the run's folders."""
    with safe_open(path, "numpy") as file:
        tensors = {name: (array.dtype.str, array.shape, array.tobytes())
                   for name, array in ((name, file.get_tensor(name)) for name in file.keys())}
        return tensors, {key: value for key, value in file.metadata().items() if key not in ("config", "checksum")}


def full_disk(bench):
    """A disk of 64 KB to 2 MB, where one may be mounted, under every script's output."""
    import ensemble
    import evaluate
    import test as sampling
    from models.weights import convert
    from tests.torture.attempts import script
    place = bench.scratch()
    for kilobytes in (8, 16, 32, 64, 128):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], capture_output=True)
        if mounted.returncode:
            print("full disk: no tmpfs may be mounted here, left out")
            return
        try:
            for name, run in (
                    ("test.py", script(sampling.main, *bench.test(place / "r"))),
                    ("ensemble.py", script(ensemble.main, bench.unet, bench.other, "--output",
                                           place / "e.safetensors")),
                    ("convert", script(convert.main, bench.unet, place / "c.safetensors")),
                    ("evaluate.py", script(evaluate.main, "--gen", bench.data / "test_images", "--input_path",
                                           bench.data / "test", "--img_path", bench.data / "train", "--json",
                                           place / "s.json"))):
                def after():
                    from PIL import Image
                    for path in place.rglob("[!.]*.*"):
                        if path.suffix in (".jpg", ".png"):
                            try:
                                with Image.open(path) as image:
                                    image.load()
                            except Exception:
                                return f"{path.name} has its final name and is not whole"
                        if path.suffix == ".safetensors":
                            return f"{path.name} was written although it does not fit"
                    return None
                yield slow("full disk", f"{kilobytes} KB, {name}", run, (0, 1, 2), kept=bench.kept, after=after,
                           paints=name == "test.py")
                subprocess.run(["find", str(place), "-mindepth", "1", "-delete"], check=False)
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=False)     # a Python object may still hold a file open


def soak(bench, images):
    """Many images in one process; memory, open files and threads are sampled at every tenth of the way."""
    from data.synthetic import write_dataset
    data = folder_of(bench.root, "soak")
    write_dataset(data, train=6, test=images, width=64, height=48, seed=5, progress=False)

    def run():
        folder = bench.scratch() / "r"
        process = start("test.py", *bench.test(folder, "--limit", images, "--batch_size", 1,
                                               input_path=data / "test", img_path=data / "train"),
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        samples, step = [], max(1, images // 10)
        while process.poll() is None:
            made = len(list(folder.glob("[!.]*.jpg"))) if folder.is_dir() else 0
            if made >= step * (len(samples) + 1):
                with contextlib.suppress(OSError, ValueError, StopIteration):
                    samples.append((made, *usage(process.pid)))
            time.sleep(0.1)
        print("soak: images, MB, open files, threads: "
              + "; ".join(" ".join(map(str, sample)) for sample in samples), flush=True)
        if process.returncode:
            return process.returncode, "failed: the soak"
        later = samples[len(samples) // 3:] or [(0, 0, 0, 0)]
        grown = later[-1][1] > 1.1 * later[0][1] + 30 or later[-1][2] > later[0][2] + 4 or later[-1][3] > later[0][3] + 4
        return (1, f"failed: it grows: {later}") if grown else (0, "")
    yield slow("soak", f"{images} images", run, (0,), kept=bench.kept)


def usage(process):
    """(MB of memory, open files, threads) of a process."""
    with open(f"/proc/{process}/status") as stream:
        lines = dict(line.split(":", 1) for line in stream if ":" in line)
    return int(lines["VmRSS"].split()[0]) // 1024, len(os.listdir(f"/proc/{process}/fd")), int(lines["Threads"])

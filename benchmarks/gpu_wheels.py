"""What benchmarks/gpu_wheels.sh does to the wheels it has fetched: leaves out what no GPU machine needs, and weighs the rest.

jittor_offline is two thirds a data set of digits, libraries for the other processor and parts that CUDA 11 and newer does
without; NumPy brings its own tests. Without them both install and work.
"""
import argparse
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

if not __package__:                       # python benchmarks/NAME.py, not -m benchmarks.NAME
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from runtime.errors import RunError, run_script
from runtime.files import replacing

ROOT = Path(__file__).resolve().parent.parent
UNUSED = ("train-images", "train-labels", "t10k-images", "t10k-labels", "cub-", "cutt-", "nccl.")    # files that begin so
WHEELS = ("jittor_offline-*.whl", "numpy-*.whl")


def unneeded(name, machine):
    """Whether a file is left out: see above, oneDNN for another processor than `machine`, tests, byte code."""
    file = name.rsplit("/", 1)[-1]
    other_processor = file.startswith("dnnl_") and ("aarch64" in file) != (machine == "aarch64")
    unused = name.startswith("jittor_offline/") and (file.startswith(UNUSED) or other_processor)
    return unused or "/tests/" in name or "__pycache__" in name


def strip(wheel, machine):
    """Rewrites a wheel without what is unneeded, and without its lines in RECORD."""
    with zipfile.ZipFile(wheel) as source:
        kept = [entry for entry in source.infolist() if not unneeded(entry.filename, machine)]
        with replacing(wheel) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in kept:
                data = source.read(entry)
                if entry.filename.endswith(".dist-info/RECORD"):
                    lines = data.decode().splitlines(keepends=True)
                    data = "".join(line for line in lines if not unneeded(line.split(",")[0], machine)).encode()
                target.writestr(entry, data)


# What gpu_check.sh does not read, to be left out of the copy that goes to the GPU machine: 35 MiB.
LEFT_OUT = ("demo/weights/unet.safetensors", "demo/weights/autoencoder.safetensors")


def repository_files(root):
    """The files that git tracks, and those it does not ignore, but for LEFT_OUT."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, check=True,
                            capture_output=True, text=True).stdout
    return [Path(root) / name for name in listed.split("\0") if name and name not in LEFT_OUT]


def mebibytes(files):
    """Their size together."""
    return sum(file.stat().st_size for file in set(files) if file.is_file()) / 2 ** 20


def weigh(folder, limit, root=ROOT):
    """One line on what goes to the GPU machine. RunError above the limit, where there is one."""
    wheels = [file.resolve() for file in folder.rglob("*")]
    own = [file for file in repository_files(root) if file.resolve() not in wheels]
    total = mebibytes(wheels) + mebibytes(own)
    line = f"wheels {mebibytes(wheels):.1f} MiB, the repository's files {mebibytes(own):.1f}, together {total:.1f}"
    if limit and total > limit:
        raise RunError(f"{folder}: {line}, expected at most {limit:g}")
    return line


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_wheels", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["strip", "weigh"])
    parser.add_argument("folder", type=Path, help="where the wheels lie")
    parser.add_argument("limit", type=float, nargs="?", help="MiB that wheels and repository may come to (weigh)")
    args = parser.parse_args(argv)
    if args.what == "strip":
        for wheel in [path for pattern in WHEELS for path in args.folder.glob(pattern)]:
            strip(wheel, platform.machine())
    else:
        print(weigh(args.folder, args.limit))


if __name__ == "__main__":
    run_script(main)

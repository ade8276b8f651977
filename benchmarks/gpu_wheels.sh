#!/bin/sh
# Fetches the Python packages that benchmarks/gpu_check.sh installs into benchmarks/gpu_wheels/, for a GPU machine without
# network: everything but CUDA's libraries, which that machine has. About 40 MB, and 50 more with OpenCV. Says what they and the
# repository's files come to; with --small more than 60 MiB are an error.
#   sh benchmarks/gpu_wheels.sh [--small] [PYTHON_VERSION]       --small: without OpenCV; PYTHON_VERSION: 3.12 unless told
set -eu
cd "$(dirname "$0")/.."
small= limit=
[ "${1:-}" != --small ] || { small=yes; limit=60; shift; }
version=${1:-3.12}
python=${PYTHON:-python3}
folder=benchmarks/gpu_wheels
machine=$(uname -m)

mkdir -p "$folder"
# These two are published as sources; as wheels they need no setuptools on the GPU machine.
$python -m pip wheel --quiet --no-deps --wheel-dir "$folder" jittor==1.3.11.0 jittor_offline==0.0.7
others=$(sed 's/ *#.*//' requirements.txt | grep -v '^jittor' | grep -v '^opencv-python')
# headless: the same cv2 without windows, 13 MB less
[ -n "$small" ] || others="$others
opencv-python-headless>=4.8,<4.12"
echo "$others" > "$folder/requirements.txt"
$python -m pip download --quiet --only-binary=:all: --python-version "$version" --implementation cp \
    --platform "manylinux2014_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux_2_28_$machine" \
    --dest "$folder" -r "$folder/requirements.txt" 'pytest>=7.4,<8.4' astunparse six     # later ones need pygments
$python -m benchmarks.gpu_wheels strip "$folder"
$python -m benchmarks.gpu_wheels weigh "$folder" $limit

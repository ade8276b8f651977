#!/bin/sh
# Everything a GPU can tell, in one command and one report: installs, builds Jittor's core for CUDA, runs every test on the GPU
# (networks on both devices, compared), times the full-size networks and every kernel, says what 16 bits cost a picture, trains
# the full-size networks for a few steps on synthetic 512x384 landscapes, in float32 and in 16 bits, paints 64 masks with the fast
# recipe in both, and writes runs/gpu_check/report.md, with pictures beside it.
# Needs Python 3.9 to 3.12 with venv, g++, an NVIDIA driver, CUDA with cuDNN, and benchmarks/gpu_wheels/ or a network.
# A second call goes on where the first stopped: what is done is marked in runs/gpu_check/done/. Remove that folder to begin anew.
#   TORCH_PYTHON=... names a Python with PyTorch, to time our U-Net beside PyTorch's
#   sh benchmarks/gpu_check.sh           PYTHON=python3.12 chooses the Python, LIMIT=540 ends each part after so many seconds
set -u
cd "$(dirname "$0")/.."
work=runs/gpu_check
wheels=benchmarks/gpu_wheels
limit=${LIMIT:-3600}
mkdir -p "$work/done" "$work/log"
export IIDM_DEVICE=cuda PYTHONDONTWRITEBYTECODE=1

# part NAME COMMAND...: runs it once; its output and seconds are kept, and it is not repeated when it ended well.
part() {
    name=$1
    shift
    [ ! -e "$work/done/$name" ] || return 0
    echo "== $name" >&2
    begun=$(date +%s)
    timeout "$limit" "$@" > "$work/log/$name" 2>&1
    status=$?
    echo "status $status, $(($(date +%s) - begun)) s" > "$work/log/$name.status"
    if [ $status = 0 ]; then cp "$work/log/$name.status" "$work/done/$name"; else tail -n 5 "$work/log/$name" >&2; fi
    return $status
}

install() {
    "${PYTHON:-python3.12}" -m venv "$work/venv" || return 1
    if [ -d "$wheels" ]; then
        "$work/venv/bin/python" -m pip install --quiet --no-index --find-links "$wheels" \
            -r "$wheels/requirements.txt" jittor jittor_offline pytest
    else
        "$work/venv/bin/python" -m pip install --quiet -r requirements-dev.txt
    fi
}

versions() {
    uname -srm
    g++ --version | head -n 1
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    "$work/venv/bin/python" --version
    "$work/venv/bin/python" -m pip freeze
    git log -1 --format='commit %h' 2>/dev/null
}

python=$work/venv/bin/python

train() {     # train RUN PRECISION
    "$python" train.py --input_path "$work/data/train" --config iidm --resume --set "train.run=$work/$1" \
        --set "train.precision=$2" --set "data.cache=$work/latents" --set "autoencoder.path=$work/autoencoder.safetensors" \
        --set train.autoencoder.steps=400 --set train.autoencoder.codebook_start=200 --set train.unet.steps=400 \
        --set train.unet.save_every=200 --set train.unet.sample_every=400
}
paint() {     # paint FOLDER PRECISION
    "$python" test.py --input_path "$work/data/test" --img_path "$work/data/train" --config iidm_fast --set "sampling.precision=$2" \
        --checkpoint "$work/run/checkpoints/unet-00000400.safetensors" --output_path "$work/$1"
}

tests_here() { find tests -name 'test_*.py' | sort; }
name_of() { echo "${1%.py}" | tr / -; }                         # two folders may have a test of the same name

case "${1:-}" in install | versions | train | paint) "$@"; exit ;; esac       # in a shell of their own, so that they end in time

part install sh "$0" install || exit 1
part versions sh "$0" versions
part doctor "$python" -m runtime.doctor --quick || exit 1
part build "$python" -c 'from runtime.backend import DEVICE, REASON; print(DEVICE, REASON)' || exit 1
opencv=$("$python" -c 'import cv2; print(cv2.__version__)' 2>/dev/null)
for file in $(tests_here); do
    # Without OpenCV (gpu_wheels.sh --small) the colour transfer cannot be imported, nor what samples with it.
    if [ -z "$opencv" ] && grep -qE 'cv2|colour_transfer|import train|import test$|import ensemble|from (training|sampling|evaluation)' "$file"; then
        echo "left out: no OpenCV" > "$work/log/$(name_of "$file").status"
        continue
    fi
    part "$(name_of "$file")" "$python" -m pytest -q -p no:cacheprovider --durations=0 "$file"
done
part forward "$python" -m benchmarks.unet_forward
part train "$python" -m benchmarks.unet_forward --train
part autoencoder "$python" -m benchmarks.gpu_autoencoder
part kernels "$python" -m benchmarks.kernels
part layouts "$python" -m benchmarks.conv_layouts
part precision "$python" -m benchmarks.precision --sheet "$work/precision.png"
part guided "$python" -m benchmarks.guided_step --full --batch 4
part guided16 "$python" -m benchmarks.guided_step --full --batch 4 --precision auto
part parts "$python" -m benchmarks.submission --full
[ -z "${TORCH_PYTHON:-}" ] || part twin "$python" -m benchmarks.torch_twin --full --markdown --torch_python "$TORCH_PYTHON"
part landscapes "$python" -m data.synthetic --output "$work/data" --train 128 --test 64 --width 512 --height 384
part training sh "$0" train run float32
part training16 sh "$0" train run16 auto
part painting sh "$0" paint results float32
part painting16 sh "$0" paint results16 auto

{
    echo "# GPU report"
    echo
    echo "Made by \`sh benchmarks/gpu_check.sh\` on $(date -u +%Y-%m-%d)."
    for name in versions doctor build forward train autoencoder kernels layouts precision guided guided16 parts twin \
        training training16 painting painting16; do
        printf '\n## %s\n\n%s\n\n```\n' "$name" "$(cat "$work/log/$name.status" 2>/dev/null || echo not run)"
        tail -n 60 "$work/log/$name" 2>/dev/null
        echo '```'
    done
    printf '\n## tests on the GPU\n\n| file | ended with | last line |\n|---|---|---|\n'
    for file in $(tests_here); do
        name=$(name_of "$file")
        echo "| $name | $(cat "$work/log/$name.status" 2>/dev/null || echo not run) | $(tail -n 1 "$work/log/$name" 2>/dev/null) |"
    done
} > "$work/report.md"
echo "$work/report.md"

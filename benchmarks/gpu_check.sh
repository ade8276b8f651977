#!/bin/sh
# Everything a GPU can tell, in one command and one report: installs, builds Jittor's core for CUDA, compares the networks on both
# devices, times the full-size networks and every kernel, says what 16 bits cost a picture, trains the full-size networks for a
# few steps on synthetic 512x384 landscapes, in float32 and in 16 bits, paints 64 masks with the fast recipe in both, and runs
# every test on the GPU. Needs Python 3.9 to 3.12, g++, an NVIDIA driver, CUDA with cuDNN, and benchmarks/gpu_wheels/ or a network.
#
#   sh benchmarks/gpu_check.sh [options] [PART or GROUP]...      groups: devices, timings, pictures, tests (default: all, so ordered)
#     --output FOLDER   the report, the logs as one archive and the pictures go there too, after every part
#     --limit SECONDS   ends everything after so long (default: 540), whole or not; a second call goes on where the first stopped
#     --cpu             the same at small sizes on the CPU, and few of the tests: to see that the script itself is well
#     --venv FOLDER     an environment that has the requirements; nothing is installed
# PYTHON=python3.12 chooses the Python. TORCH_PYTHON=... names one with PyTorch, to time our networks beside PyTorch's (default:
# python3 where it has PyTorch). What is done is marked in runs/gpu_check/done/ (--cpu: runs/gpu_check_cpu/done/): remove that
# folder to begin anew. The report is runs/gpu_check/report.md. Exit status 1 where a part failed or was cut off.
set -u
script=benchmarks/gpu_check.sh

device=cuda limit=540 output= venv=
while [ $# -gt 0 ]; do
    case $1 in
        --cpu) device=cpu; shift ;;
        --output | --limit | --venv)
            [ $# -ge 2 ] || { echo "gpu_check.sh: $1 needs a value" >&2; exit 2; }
            case $2 in /*) path=$2 ;; *) path=$PWD/$2 ;; esac
            case $1 in --output) output=$path ;; --limit) limit=$2 ;; --venv) venv=$path ;; esac
            shift 2 ;;
        -*) echo "gpu_check.sh: unknown option $1; the first lines of $script name those there are" >&2; exit 2 ;;
        *) break ;;
    esac
done
case $limit in '' | *[!0-9]*) echo "gpu_check.sh: --limit is $limit, expected seconds" >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
deadline=$(($(date +%s) + limit))
work=runs/gpu_check
[ "$device" = cuda ] || work=runs/gpu_check_cpu
wheels=benchmarks/gpu_wheels
python=${venv:-$work/venv}/bin/python
mkdir -p "$work/done" "$work/log" ${output:+"$output"}
export IIDM_DEVICE=$device PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

if [ "$device" = cuda ]; then
    size=--full full=--full config=iidm fast=iidm_fast batch=4 train_batch=5 repeats=9 width=512 height=384 train=128 masks=64
    folders=tests
else
    size='--config mini' full= config=mini fast=mini batch=2 train_batch=2 repeats=1 width=128 height=96 train=24 masks=4
    folders='tests/benchmarks tests/configs'                 # of seconds; `make test` runs all of them on the CPU
fi

# ------------------------------------------------------------------------------------------------ what parts run

any_python() {     # the Python that an environment is made with
    for name in ${PYTHON:-} python3 python3.12 python3.11 python3.10 python3.9; do
        "$name" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo "$name"; return; }
    done
    echo "gpu_check.sh: no Python 3.9 to 3.12 was found; PYTHON=... names one" >&2
    return 1
}

install() {     # without ensurepip, which some systems leave out: the other Python's pip installs
    with=$(any_python) || return 1
    "$with" -m venv --without-pip --clear "$work/venv" || return 1
    pip="$with -m pip --python $work/venv/bin/python"
    $pip --version > /dev/null 2>&1 || { "$work/venv/bin/python" -m ensurepip && pip="$work/venv/bin/python -m pip"; } || return 1
    if [ -d "$wheels" ]; then
        $pip install --quiet --no-index --find-links "$wheels" -r "$wheels/requirements.txt" jittor jittor_offline pytest || return 1
        "$work/venv/bin/python" -c 'import cv2' 2>/dev/null || link_opencv || return 1
    else
        $pip install --quiet -r requirements-dev.txt
    fi
}

link_opencv() {     # gpu_wheels.sh --small brings no OpenCV: another Python's, if it has one, runs with NumPy 1 too
    there=$(python3 -c 'import os, cv2; print(os.path.dirname(os.path.dirname(cv2.__file__)))' 2>/dev/null) || there=
    [ -n "$there" ] || { echo "no OpenCV: what needs it is left out"; return 0; }
    site=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    ln -s "$there/cv2" "$site/cv2"
    for libraries in "$there"/opencv_python*.libs; do [ ! -d "$libraries" ] || ln -s "$libraries" "$site/"; done
    if "$work/venv/bin/python" -c 'import cv2, numpy; print("OpenCV", cv2.__version__, "of", cv2.__file__, "NumPy", numpy.__version__)
cv2.cvtColor(numpy.zeros((2, 2, 3), numpy.uint8), cv2.COLOR_RGB2LAB)'; then return 0; fi
    rm -f "$site/cv2" "$site"/opencv_python*.libs
    echo "the OpenCV of $there does not run here: what needs it is left out"
}

versions() {
    uname -srm
    g++ --version | head -n 1
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
    nvcc --version 2>/dev/null | tail -n 2 || echo "no nvcc on PATH"
    "$python" --version
    [ -n "$venv" ] || "$(any_python)" -m pip --python "$python" freeze || "$python" -m pip freeze
    git log -1 --format='commit %h' 2>/dev/null || echo "no git history"
}

build() {     # twice: where Jittor rebuilds its compiler tools for a new Python, it asks for a second start
    start='from runtime.backend import DEVICE, REASON; print(DEVICE, REASON)'
    "$python" -c "$start" || "$python" -c "$start"
}

training() {     # training RUN PRECISION
    "$python" train.py --input_path "$work/data/train" --config "$config" --resume --set "train.run=$work/$1" \
        --set "train.precision=$2" --set "data.cache=$work/latents" --set "autoencoder.path=$work/autoencoder.safetensors" \
        --set "train.autoencoder.steps=$steps" --set "train.autoencoder.codebook_start=$((steps / 2))" \
        --set "train.autoencoder.save_every=$((steps / 2))" --set "train.autoencoder.sample_every=$steps" \
        --set "train.unet.steps=$steps" --set "train.unet.save_every=$((steps / 2))" --set "train.unet.sample_every=$steps" \
        --set "data.validation=$((train / 8))"
}
steps=400
[ "$device" = cuda ] || steps=4

painting() {     # painting FOLDER PRECISION
    newest=$(ls "$work"/run/checkpoints/unet-*.safetensors | tail -n 1)
    "$python" test.py --input_path "$work/data/test" --img_path "$work/data/train" --config "$fast" --set "sampling.precision=$2" \
        --checkpoint "$newest" --autoencoder "$work/autoencoder.safetensors" --output_path "$work/$1" || return
    cp "$(ls "$work/$1"/*.jpg | head -n 1)" "$work/$1.jpg"                     # the first mask in either precision
}

twin() {
    other=${TORCH_PYTHON:-python3}
    "$other" -c 'import torch, numpy' 2>/dev/null || { echo "left out: $other has no PyTorch"; return 0; }
    modes=
    [ "$device" = cuda ] || modes="--repeats 1 --tries 1 --modes eager"
    "$python" -m benchmarks.torch_twin $size --batch "$batch" --markdown $modes --torch_python "$other"
}

test_file() {     # without OpenCV the colour transfer cannot be imported, nor what samples with it
    "$python" -m pytest -q -p no:cacheprovider --durations=0 "$1" && return
    status=$?
    [ $status != 2 ] || "$python" -c 'import cv2' 2>/dev/null || { echo "left out: no OpenCV"; return 0; }
    return $status
}

# Each in a shell of its own, so that `timeout` ends it with all that it started.
case "${1:-}" in
    run:*) function=${1#run:}; shift; "$function" "$@"; exit ;;
esac

# ------------------------------------------------------------------------------------------------ parts, reports

failed=

# part NAME COMMAND...: runs it once, until the deadline; its output and seconds are kept, and it is not repeated when it ended well.
part() {
    name=$1
    shift
    [ ! -e "$work/done/$name" ] || return 0
    left=$((deadline - $(date +%s) - 3))                     # so many seconds are for the report
    if [ $left -lt 2 ]; then
        [ -e "$work/log/$name.status" ] || echo "not begun: no time was left" > "$work/log/$name.status"
        failed="$failed $name"
        return 1
    fi
    echo "== $name" >&2
    begun=$(date +%s)
    timeout -k 5 "$left" "$@" > "$work/log/$name" 2>&1
    status=$?
    taken=$(($(date +%s) - begun))
    case $status in
        0) echo "ended well, $taken s" > "$work/log/$name.status"; cp "$work/log/$name.status" "$work/done/$name" ;;
        124 | 137) echo "cut off after $taken s" > "$work/log/$name.status" ;;
        *) echo "status $status, $taken s" > "$work/log/$name.status" ;;
    esac
    if [ $status != 0 ]; then
        failed="$failed $name"
        tail -n 5 "$work/log/$name" >&2
    fi
    report
    return $status
}
ours() { name=$1 function=$2; shift 2; part "$name" sh "$script" $again "run:$function" "$@"; }
bench() { name=$1; module=$2; shift 2; part "$name" "$python" -m "benchmarks.$module" "$@"; }
again="--limit $limit ${venv:+--venv $venv}"
[ "$device" = cuda ] || again="$again --cpu"

report() {     # written anew after every part, so that whatever ends this script leaves one
    {
        echo "# GPU report"
        echo
        echo "Made by \`sh $script\` on $(date -u '+%Y-%m-%d %H:%M'), device $device."
        printf '\n| part | ended | last line |\n|---|---|---|\n'
        for file in $(ls -tr "$work"/log/*.status 2>/dev/null); do
            name=$(basename "$file" .status)
            echo "| $name | $(cat "$file") | $(tail -n 1 "$work/log/$name" 2>/dev/null | cut -c 1-200 | tr '|' '/') |"
        done
        for file in $(ls -tr "$work"/log/*.status 2>/dev/null); do
            name=$(basename "$file" .status)
            case $name in *test_*) grep -q "ended well" "$file" && continue ;; esac
            printf '\n## %s: %s\n\n```\n' "$name" "$(cat "$file")"
            tail -n 60 "$work/log/$name" 2>/dev/null
            echo '```'
        done
    } > "$work/report.tmp"
    mv "$work/report.tmp" "$work/report.md"
    [ -n "$output" ] || return 0
    cp "$work/report.md" "$output/report.md"
    tar -C "$work" -czf "$output/logs.tar.gz" log
    for picture in "$work"/precision.png "$work"/*.jpg; do [ ! -e "$picture" ] || cp "$picture" "$output/"; done
}

chosen=" $* "
wanted() {     # wanted GROUP NAME
    case "$chosen" in "  " | *" $1 "* | *" $2 "*) return 0 ;; esac
    return 1
}
finish() {
    report
    echo "$work/report.md" >&2
    [ -z "$failed" ] || echo "not whole:$failed" >&2
    [ -z "$failed" ]
    exit
}

# ------------------------------------------------------------------------------------------------ in this order

[ -n "$venv" ] || ours install install || finish
ours versions versions
part doctor "$python" -m runtime.doctor --quick || finish
ours build build || finish

! wanted devices test_devices || ours test_devices test_file tests/runtime/test_devices.py

! wanted timings forward || bench forward unet_forward --config "$config"
! wanted timings guided16 || bench guided16 guided_step $size --batch "$batch" --precision auto
! wanted timings guided || bench guided guided_step $size --batch "$batch"
if [ "$device" = cuda ]; then
    ! wanted timings layouts || bench layouts conv_layouts --dtypes bfloat16
    ! wanted timings kernels16 || bench kernels16 kernels --repeats "$repeats" --dtypes bfloat16
fi
! wanted timings guided16_last || bench guided16_last guided_step $size --batch "$batch" --precision auto --memory_format channels_last
! wanted timings train16 || bench train16 unet_forward --config "$config" --train --batch "$train_batch" --precision auto
! wanted timings train16_last || bench train16_last unet_forward --config "$config" --train --batch "$train_batch" --precision auto \
    --memory_format channels_last
! wanted timings train || bench train unet_forward --config "$config" --train --batch "$train_batch"
! wanted timings guided16_1 || bench guided16_1 guided_step $size --precision auto
! wanted timings guided_1 || bench guided_1 guided_step $size
! wanted timings autoencoder || bench autoencoder gpu_autoencoder --config "$config"
! wanted timings twin || ours twin twin
! wanted timings kernels || bench kernels kernels --repeats "$repeats" --dtypes float32

opencv=$("$python" -c 'import cv2; print(cv2.__version__)' 2>/dev/null) || opencv=
if [ -n "$opencv" ]; then
    pictures=8
    [ "$device" = cuda ] || pictures=1
    ! wanted pictures precision || bench precision precision --config "$fast" --pictures $pictures --sheet "$work/precision.png"
    ! wanted pictures parts || bench parts submission $full --images "$pictures" --repeats "$repeats" --precision auto
    ! wanted pictures landscapes || part landscapes "$python" -m data.synthetic --output "$work/data" --train $train --test $masks \
        --width $width --height $height
    ! wanted pictures training || ours training training run float32
    ! wanted pictures training16 || ours training16 training run16 auto
    ! wanted pictures painting || ours painting painting results float32
    ! wanted pictures painting16 || ours painting16 painting results16 auto
else
    echo "no OpenCV: pictures are left out" >&2
fi

for file in $(find $folders -name 'test_*.py' ! -name test_devices.py | sort); do
    name=$(echo "${file#tests/}" | tr / - | sed 's/\.py$//')
    ! wanted tests "$file" || ours "$name" test_file "$file"
done
[ "$device" != cuda ] || ! wanted timings kernels_float16 || bench kernels_float16 kernels --repeats "$repeats" --dtypes float16
finish

# IIDM on CUDA 12.2 with cuDNN 8, the toolkit that Jittor 1.3.11 was made for: the installed Jittor starts as it is.
#
#   docker build -t iidm .
#   docker run --rm --gpus all -v iidm-cache:/root/.cache -v "$PWD":/work -w /work iidm python /iidm/train.py --input_path train_resized
#   docker run --rm --gpus all iidm python -m runtime.doctor
#
# Jittor's core is built in the image. A build sees a GPU only where nvidia is Docker's default runtime; elsewhere what is built
# here is the CPU's core, and the GPU's is built at the first start, in minutes, and kept in the volume iidm-cache.
# What of this file was run, and where, is in docs/install.md.
FROM nvidia/cuda:12.2.2-cudnn8-devel-ubuntu22.04

# Python's headers and g++: operators are compiled when they are first used. libgl1 and libglib2.0-0 are OpenCV's.
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-dev python3-venv g++ make git libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /iidm
COPY requirements.txt requirements-studio.txt ./
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements-studio.txt
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONPATH=/iidm

COPY . .

# The core and the operators of the small networks: a painted landscape is the proof. benchmarks/gpu_check.sh tries the rest.
RUN python -m data.synthetic --output /tmp/data --train 2 --test 1 --width 128 --height 96 \
 && python test.py --input_path /tmp/data/test --img_path /tmp/data/train --output_path /tmp/results --config mini --rounds 1 \
        --checkpoint demo/weights/mini/unet.safetensors --autoencoder demo/weights/mini/autoencoder.safetensors \
 && rm -r /tmp/data /tmp/results

CMD ["python", "-m", "runtime.doctor"]

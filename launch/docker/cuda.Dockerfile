# docker build --file launch/docker/cuda.Dockerfile --build-arg CUDA=12 --tag jaxreason:cuda .
# docker run --gpus all --volume "$PWD/runs:/home/jaxreason/runs" jaxreason:cuda \
#   train experiments/maze/paper.py --run /home/jaxreason/runs/paper
# CUDA, cuDNN and NCCL come with JAX's wheels; the machine needs the driver (525 or newer for
# CUDA 12, 580 or newer for 13) and the NVIDIA container toolkit.
FROM python:3.12.11-slim-bookworm
ARG CUDA=12
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home --uid 1000 jaxreason
WORKDIR /opt/jaxreason
COPY pyproject.toml README.md ./
COPY launch/constraints.txt launch/constraints.txt
COPY jaxreason jaxreason
# k8s: how JAX finds the other processes on Kubernetes.
RUN pip install --no-cache-dir --compile --constraint launch/constraints.txt \
    ".[hf,gcs,cuda${CUDA},k8s]"
COPY experiments experiments
USER 1000
ENTRYPOINT ["jaxreason"]

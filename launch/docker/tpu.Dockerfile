# docker build --file launch/docker/tpu.Dockerfile --tag jaxreason:tpu .
# Run by launch/gke/tpu.yaml and launch/tpu_vm/worker.sh, which give it root for the TPU's devices.
FROM python:3.12.11-slim-bookworm
RUN useradd --create-home --uid 1000 jaxreason
WORKDIR /opt/jaxreason
COPY pyproject.toml README.md ./
COPY launch/constraints.txt launch/constraints.txt
COPY jaxreason jaxreason
RUN pip install --no-cache-dir --compile --constraint launch/constraints.txt ".[hf,gcs,tpu]"
COPY experiments experiments
USER 1000
ENTRYPOINT ["jaxreason"]

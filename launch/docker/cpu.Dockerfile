# docker build --file launch/docker/cpu.Dockerfile --tag jaxreason:cpu .
# docker run --volume "$PWD/runs:/home/jaxreason/runs" jaxreason:cpu \
#   train experiments/maze/tiny.py --run /home/jaxreason/runs/tiny
FROM python:3.12.11-slim-bookworm
RUN useradd --create-home --uid 1000 jaxreason
WORKDIR /opt/jaxreason
COPY pyproject.toml README.md ./
COPY launch/constraints.txt launch/constraints.txt
COPY jaxreason jaxreason
# Bytecode is compiled here: without it, and with no right to write it, `import jax` takes ten
# seconds in every process.
RUN pip install --no-cache-dir --compile --constraint launch/constraints.txt ".[hf,gcs]"
COPY experiments experiments
USER 1000
ENTRYPOINT ["jaxreason"]

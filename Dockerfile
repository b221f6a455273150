# otr on NVIDIA GPUs:
#   docker build -t otr .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" otr train recipe.yaml
# torch brings the CUDA libraries that it was built with; the base image asks the host for its driver.
FROM nvidia/cuda:12.8.1-base-ubuntu24.04

# Triton compiles its kernels' launchers with a C compiler and Python's headers, at run time.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN python3 -m venv /opt/otr \
    && /opt/otr/bin/pip install --no-cache-dir "/source[eval]" \
    && rm -rf /source

# Caches go to a home that any user may write, since --user may name one that is unknown here; torch
# asks for the user's name, which then comes from LOGNAME.
RUN useradd --create-home --uid 10001 otr \
    && chmod 1777 /home/otr \
    && install --directory --owner otr --mode 1777 /work
ENV PATH=/opt/otr/bin:$PATH HOME=/home/otr LOGNAME=otr
USER 10001
WORKDIR /work
ENTRYPOINT ["otr"]
CMD ["--help"]

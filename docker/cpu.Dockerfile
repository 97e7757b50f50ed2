# syntax=docker/dockerfile:1
# edgeprune for the target `cpu`, on x86-64 and aarch64: prune, quantize, compile and measure on the host's CPU.
#
# The base image is pinned by its version tag. A digest pins harder, but has to be read from a registry where one can
# be reached (`docker buildx imagetools inspect python:3.11-slim-bookworm`); both FROM lines then take it after the tag.

FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PATH="/opt/edgeprune/bin:$PATH"
RUN python -m venv /opt/edgeprune

WORKDIR /src
COPY docker/constraints.txt pyproject.toml README.md LICENSE ./
COPY targets targets
COPY calib calib
COPY toolchain toolchain

# One pip command, so that torch and torchvision are resolved together with the rest. Of equal versions pip takes the
# one with a local part (2.x+cpu), so the CPU wheels win over the CUDA build of several GB.
# The image has no libGL, which opencv-python wants; its headless twin is the same module without windows.
RUN pip install --constraint constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu '.[build]' \
    && pip uninstall --yes opencv-python \
    && pip install --constraint constraints.txt --force-reinstall --no-deps opencv-python-headless


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="edgeprune" \
      org.opencontainers.image.description="Prune, quantize, compile and measure vision models on a CPU" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"

RUN useradd --uid 1000 --create-home edgeprune \
    && install --directory --owner=edgeprune --group=edgeprune /work
COPY --from=build /opt/edgeprune /opt/edgeprune

# Settings and caches lie in /tmp, so that `docker run --user` works with any user id.
ENV PATH="/opt/edgeprune/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    YOLO_CONFIG_DIR=/tmp \
    YOLO_AUTOINSTALL=false

USER 1000:1000
WORKDIR /work

HEALTHCHECK --interval=5m --timeout=2m --start-period=30s --retries=2 CMD ["edgeprune", "doctor"]
ENTRYPOINT ["edgeprune"]
CMD ["--help"]

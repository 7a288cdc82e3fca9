# Kairos in a container: torch for CUDA, whose libraries it brings along, or for CPUs alone. docs/installation.md explains it.
#
#   docker build --build-arg UID=$(id -u) -t kairos .
#   docker build --build-arg UID=$(id -u) --build-arg TORCH=cpu -t kairos-cpu .
#   mkdir -p data outputs
#   docker run --rm -it --gpus all --ipc host -v "$PWD/data:/kairos/data" -v "$PWD/outputs:/kairos/outputs" kairos run recipes/tspo.yaml
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm

ARG TORCH=cuda
ARG UID=1000
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

# git tells a run which commit it is of; videos need no program, because PyAV brings FFmpeg's libraries
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid "${UID}" kairos && mkdir /kairos && chown kairos: /kairos
RUN python3 -m venv /opt/venv && pip install --upgrade "pip>=24"

WORKDIR /kairos
COPY constraints.txt ./
RUN case "${TORCH}" in \
        cuda) pip install -c constraints.txt torch torchvision ;; \
        cpu) pip install -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch torchvision ;; \
        *) echo "TORCH=${TORCH}: cuda or cpu" >&2; exit 1 ;; \
    esac

COPY --chown=kairos:kairos . .
RUN pip install -e . -c constraints.txt && mkdir -p data outputs build && chown -R kairos: /kairos

USER kairos
ENTRYPOINT ["lightning"]
CMD ["--help"]

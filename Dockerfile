# CI checks this file with hadolint; it does not build the image.
#
#   docker build -t score-sde .
#   docker run --gpus all --ipc=host -v "$PWD/data:/workspace/data" -v "$PWD/logs:/workspace/logs" \
#       score-sde train.py experiment=digits
FROM pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime

# torch.compile needs a C++ compiler, which the runtime image does not contain.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

# With --build-arg UID="$(id -u)" --build-arg GID="$(id -g)", files in mounted folders belong to you.
ARG UID=1000
ARG GID=1000
RUN groupadd --gid "$GID" user && useradd --create-home --no-log-init --uid "$UID" --gid "$GID" user

WORKDIR /workspace

# Dependencies come before sources, so that a change of the code rebuilds only the last layer. The constraints pin torch
# and torchvision to the versions of the base image, so that its CUDA build is not replaced.
COPY pyproject.toml ./
RUN python -c "import importlib.metadata as m; \
print(*(f'{name}=={m.version(name)}' for name in ('torch', 'torchvision')), sep='\n')" > /tmp/constraints.txt \
    && python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['sweep'], sep='\n')" > /tmp/requirements.txt \
    && pip install --no-cache-dir -r /tmp/requirements.txt -c /tmp/constraints.txt \
    && rm /tmp/constraints.txt /tmp/requirements.txt

RUN mkdir data logs && chown user:user . data logs
COPY --chown=user:user . .

# Downloaded weights are stored with the data, on a volume, and survive the container.
ENV TORCH_HOME=/workspace/data/torch
VOLUME ["/workspace/data", "/workspace/logs"]

USER $UID:$GID
ENTRYPOINT ["python"]
CMD ["train.py", "--help"]

# Checked with hadolint in CI; no image is built there.
#
#   docker build -t score-sde .
#   docker run --gpus all --ipc=host -v "$PWD/data:/workspace/data" -v "$PWD/logs:/workspace/logs" \
#       score-sde train.py experiment=digits
FROM pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime

# torch.compile builds its kernels with the system's compiler, which the runtime image lacks.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

# Your own ids (--build-arg UID="$(id -u)" --build-arg GID="$(id -g)") keep mounted folders yours.
ARG UID=1000
ARG GID=1000
RUN groupadd --gid "$GID" user && useradd --create-home --no-log-init --uid "$UID" --gid "$GID" user

WORKDIR /workspace

# Dependencies before sources: an edit of the code rebuilds only the last layer. The constraints hold torch and
# torchvision at what the base image brings, so that its CUDA build is never replaced.
COPY pyproject.toml ./
RUN python -c "import importlib.metadata as m; \
print(*(f'{name}=={m.version(name)}' for name in ('torch', 'torchvision')), sep='\n')" > /tmp/constraints.txt \
    && python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['sweep'], sep='\n')" > /tmp/requirements.txt \
    && pip install --no-cache-dir -r /tmp/requirements.txt -c /tmp/constraints.txt \
    && rm /tmp/constraints.txt /tmp/requirements.txt

RUN mkdir data logs && chown user:user . data logs
COPY --chown=user:user . .

# Downloaded weights live with the data, on a volume, so that they outlast the container.
ENV TORCH_HOME=/workspace/data/torch
VOLUME ["/workspace/data", "/workspace/logs"]

USER $UID:$GID
ENTRYPOINT ["python"]
CMD ["train.py", "--help"]

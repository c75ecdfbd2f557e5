"""Generate the GPU code of a compiled training loss without a GPU, and compile its kernels for an H100.

``python -m tests.support.generated_kernels [override ...]`` prints figures as one line of JSON. It needs a CUDA build
of torch, triton, and the two libraries of ``build_driver``, which take the place of a GPU's driver.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

RUNTIME = """
#include <stdlib.h>
#include <string.h>
int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaSetDevice(int device) { return 0; }
int cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
int cudaGetLastError(void) { return 0; }
int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }
int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = 0; return 0; }
int cudaDeviceCanAccessPeer(int *can, int device, int peer) { *can = 0; return 0; }
int cudaGetDeviceProperties(char *properties, int device) { strcpy(properties, "none"); return 0; }
int cudaMalloc(void **pointer, size_t size) { *pointer = calloc(size, 1); return 0; }
int cudaMemGetInfo(size_t *free, size_t *total) { *free = *total = 1ull << 36; return 0; }
int cudaMemcpyAsync(void *to, void *from, size_t size, int kind, void *stream) { memmove(to, from, size); return 0; }
int cudaMemsetAsync(void *pointer, int value, size_t size, void *stream) { return 0; }
int cudaFuncGetAttributes(void *attributes, void *function) { return 0; }
int cudaFuncSetAttribute(void *function, int attribute, int value) { return 0; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) { *value = 1; return 0; }
int cudaPeekAtLastError(void) { return 0; }
int __cudaGetKernel(void **kernel, void *function) { *kernel = function; return 0; }
int __cudaLaunchKernel(void *kernel) { return 0; }
int cudaLaunchKernelExC(void *launch, void *function, void **arguments) { return 0; }
int cudaLaunchKernel(void *function) { return 0; }
"""
"""Functions of the CUDA runtime: one device, on which kernels do nothing."""

DRIVER = (
    "int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = *active = 0; return 0; }\n"
)

H100 = SimpleNamespace(
    name="NVIDIA H100 80GB HBM3",
    major=9,
    minor=0,
    multi_processor_count=132,
    warp_size=32,
    max_threads_per_block=1024,
    max_threads_per_multi_processor=2048,
    regs_per_multiprocessor=65536,
    shared_memory_per_block=49152,
    shared_memory_per_block_optin=232448,
    shared_memory_per_multiprocessor=233472,
    total_memory=80 * 2**30,
    L2_cache_size=50 * 2**20,
    is_integrated=0,
    gcnArchName="",
)


def build_driver(folder: Path) -> dict[str, str]:
    """Compile both libraries into ``folder`` and return the environment variables that load them."""
    import torch
    import triton

    libraries = Path(torch.__file__).parent / "lib"
    users = (libraries / "libc10_cuda.so", libraries / "libcaffe2_nvrtc.so")
    triton_driver = Path(triton.__file__).parent / "backends" / "nvidia" / "driver.c"
    called = b" ".join(path.read_bytes() for path in (*users, triton_driver))
    names = sorted({name.decode() for name in re.findall(rb"\b(cu(?:da)?[A-Z]\w+)\b", called)})
    runtime, driver = folder / "runtime.so", folder / "libcuda.so.1"
    for target, code in ((runtime, RUNTIME), (driver, DRIVER)):
        # The other functions that torch and triton call succeed and do nothing.
        others = [name for name in names if name not in code and name.startswith("cuda") == (target is runtime)]
        code += "".join(f"int {name}(void) {{ return 0; }}\n" for name in others if not name.startswith("cudaGetError"))
        command = ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{target.name}", "-x", "c", "-", "-o", str(target)]
        subprocess.run(command, input=code, text=True, check=True)
    return {"LD_PRELOAD": str(runtime), "LD_LIBRARY_PATH": str(folder)}


class Generator:
    """Backend of ``torch.compile``: Inductor generates code, which is kept; the graph itself runs on fake tensors."""

    def __init__(self) -> None:
        self.kernels: dict[str, str] = {}
        self.graphs: list[str] = []

    def __call__(self, graph: Any, inputs: Any) -> Any:
        from torch._inductor.compile_fx import compile_fx

        return compile_fx(graph, inputs, inner_compile=self._generate)

    def _generate(self, graph: Any, inputs: Any, **settings: Any) -> Any:
        from torch._inductor.async_compile import AsyncCompile
        from torch._inductor.compile_fx import compile_fx_inner
        from torch._inductor.graph import GraphLowering

        def keep_kernel(_: AsyncCompile, name: str, code: str, *__: object, **___: object) -> None:
            self.kernels[code] = name

        def keep_graph(lowering: GraphLowering) -> Any:
            code = generate(lowering)
            self.graphs.append(code[0].value if hasattr(code[0], "value") else code[0])
            return code

        generate = GraphLowering.codegen
        with (
            mock.patch.object(AsyncCompile, "triton", keep_kernel),
            mock.patch.object(GraphLowering, "codegen", keep_graph),
        ):
            compile_fx_inner(graph, inputs, **settings)

        def run(arguments: list[Any]) -> Any:
            return graph(*arguments)

        run._boxed_call = True  # type: ignore[attr-defined] # as Inductor's own functions
        return run


@contextmanager
def h100() -> Iterator[None]:
    """Describe an H100 to Inductor."""
    import torch
    from torch._dynamo.device_interface import CudaInterface

    with ExitStack() as stack:
        for owner in (torch.cuda, CudaInterface, CudaInterface.Worker):
            stack.enter_context(mock.patch.object(owner, "get_device_properties", staticmethod(lambda *_: H100)))
        yield


def generate(overrides: list[str]) -> Generator:
    """Trace a training loss in bfloat16 on fake CUDA tensors, forward and backward."""
    import torch
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from torch._subclasses import FakeTensorMode

    from src.config.location import CONFIG_DIR
    from src.lightning_modules.compiled import CompiledLoss
    from src.noise import Address

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=["net.channels_last=true", "net.compile=false", *overrides])
    module = instantiate(cfg.module, _convert_="all")
    batch, channels, size = (int(cfg.datamodule[key]) for key in ("global_batch_size", "channels", "image_size"))
    generator = Generator()
    # Constants of the graph are real tensors.
    with h100(), FakeTensorMode(allow_non_fake_inputs=True):
        for part in module.model.modules():
            for kept in (part._parameters, part._buffers):
                for name, value in kept.items():
                    if value is not None:
                        like = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
                        kept[name] = torch.nn.Parameter(like) if isinstance(value, torch.nn.Parameter) else like
        index = torch.empty(batch, dtype=torch.int64, device="cuda")
        cond = {"labels": index} if cfg.datamodule.get("num_classes") else None
        loss = CompiledLoss(module.objective, backend=generator, fullgraph=True)
        with torch.autocast("cuda", torch.bfloat16):
            losses = loss(
                module.model, torch.empty(batch, channels, size, size, device="cuda"), Address(0, 3, index), cond, True
            )
        losses.mean().backward()
    return generator


def compile_kernels(kernels: dict[str, str]) -> list[str]:
    """Compile kernels to machine code; return the names of those that fail."""
    from torch._inductor.codecache import PyCodeCache

    failed = []
    with h100():
        for code, name in kernels.items():
            kernel = getattr(PyCodeCache.load(code), name)
            kernel.configs = kernel.configs[:1]
            try:
                kernel.precompile(warm_cache_only=True)
            except Exception as error:
                failed.append(f"{name}: {error}")
    return failed


def main() -> None:
    """Print figures of the loss of a configuration."""
    import torch._inductor.config

    # Folding constants would read values that no kernel has written.
    settings = {"force_disable_caches": True, "compile_threads": 1, "joint_graph_constant_folding": False}
    with torch._inductor.config.patch(settings):
        made = generate(sys.argv[1:])
        failed = compile_kernels(made.kernels)
    figures = {
        "graphs": len(made.graphs),
        "kernels": len(made.kernels),
        "failed": failed,
        "groups": sorted(set(re.findall(r"groups=(\d+)", "".join(made.graphs)))),
    }
    os.write(1, (json.dumps(figures) + "\n").encode())


if __name__ == "__main__":
    main()

"""A program that uses a GPU by NVIDIA's driver alone: what tests run, and what they look at.

    python -m tests.agents.node.real.cuda hold 1024      # a context and so many MiB, no work
    python -m tests.agents.node.real.cuda spin           # one busy thread of one block
    python -m tests.agents.node.real.cuda fault 16       # a kernel that writes to address 16
    python -m tests.agents.node.real.cuda trap           # a kernel that stops itself

It says `ready` once that is so, and ends when its input does. A fault ends its own context, and
nothing else of the GPU. Source: CUDA's driver API; PTX ISA.
"""

import ctypes
import sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

MIB = 1024 * 1024
_PTX = b"""
.version 6.3
.target sm_70
.address_size 64

.visible .entry fault(.param .u64 where)
{
  .reg .u64 %a;
  .reg .u32 %v;
  ld.param.u64 %a, [where];
  mov.u32 %v, 1;
  st.global.u32 [%a], %v;
  ret;
}

.visible .entry trap(.param .u64 unused)
{
  trap;
  ret;
}

.visible .entry spin(.param .u64 cycles)
{
  .reg .u64 %begun, %now, %took, %cycles;
  .reg .pred %more;
  ld.param.u64 %cycles, [cycles];
  mov.u64 %begun, %clock64;
again:
  mov.u64 %now, %clock64;
  sub.u64 %took, %now, %begun;
  setp.lt.u64 %more, %took, %cycles;
  @%more bra again;
  ret;
}
"""
_SPIN_CYCLES = 50_000_000


class Cuda:
    """The first GPU that this process may use."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._call("cuInit", 0)
        device, context = c_int(), c_void_p()
        self._call("cuDeviceGet", byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        self._call("cuCtxSetCurrent", context)

    def _call(self, name: str, *arguments: object) -> None:
        if code := getattr(self._driver, name)(*arguments):
            said = ctypes.c_char_p()
            self._driver.cuGetErrorName(code, byref(said))
            raise RuntimeError(f"{name}: {(said.value or b'?').decode()}")

    def hold(self, mib: int) -> None:
        """Take so much memory, and write to it: a promise alone is not in use."""
        place = c_uint64()
        self._call("cuMemAlloc_v2", byref(place), c_size_t(mib * MIB))
        self._call("cuMemsetD8_v2", place, 1, c_size_t(mib * MIB))
        self._call("cuCtxSynchronize")

    def kernel(self, name: str) -> c_void_p:
        """Return a kernel of this file."""
        module, function = c_void_p(), c_void_p()
        self._call("cuModuleLoadData", byref(module), _PTX)
        self._call("cuModuleGetFunction", byref(function), module, name.encode())
        return function

    def run(self, kernel: c_void_p, value: int) -> None:
        """Run one thread of a kernel, and wait for its end."""
        argument = c_uint64(value)
        arguments = (c_void_p * 1)(ctypes.cast(byref(argument), c_void_p))
        self._call("cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, None, arguments, None)
        self._call("cuCtxSynchronize")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(what: str, number: int) -> None:
    """Do one of the things that this file can."""
    gpu = Cuda()
    if what == "hold":
        gpu.hold(number)
        _say("ready")
        sys.stdin.read()
        return
    kernel = gpu.kernel(what)
    if what == "spin":
        gpu.run(kernel, 1)
        _say("ready")
        while True:
            gpu.run(kernel, _SPIN_CYCLES)
    try:
        gpu.run(kernel, number)
    except RuntimeError as error:
        _say(str(error))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)

"""A program that keeps a GPU's tensor cores busy: bf16 products of 8,192 x 8,192 matrices.

It says `ready` once it computes, and goes on until it is ended.
"""

import sys

import torch

_SIZE, _AT_A_TIME = 8192, 50


def main() -> None:
    """Multiply until told to end."""
    one = torch.randn(_SIZE, _SIZE, device="cuda", dtype=torch.bfloat16)
    product = torch.empty_like(one)
    said = False
    while True:
        for _ in range(_AT_A_TIME):
            torch.mm(one, one, out=product)
        torch.cuda.synchronize()
        if not said:
            said = True
            sys.stdout.write("ready\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""The node agent on the GPUs of this machine, by the driver that is there: `make test-gpu`."""

"""The parts of `benchmarks/gateway.py`: one world of processes, one module of sections per subject."""

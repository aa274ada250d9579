"""A flow that is served: inputs, outputs and its description."""

"""`flow.flex.yaml`: flows that are a Python function or class."""

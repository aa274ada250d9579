"""`flow.dag.yaml`: prompt flow's graphs of nodes."""

"""`experiment.yaml`: nodes that are runs of flows, or commands, each fed by data and by nodes before it."""

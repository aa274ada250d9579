"""The Python of a flow: its files, nodes and their parameters."""

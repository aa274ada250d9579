"""Lines in processes of their own: what a node does to its process, its death too, meets no other process's lines.

`flow.IsolatedFlow` is a `runnable.Runnable` whose lines run in workers, one at a time in each. This process
keeps what must be one: the gateway that models are called through and the store of runs; it does not import the
flow's code. A worker is a fresh interpreter at the other end of a socket (`frames`): it opens the flow, runs what
it is handed and asks for models over the same socket (`calls`). It ends with its parent.
"""

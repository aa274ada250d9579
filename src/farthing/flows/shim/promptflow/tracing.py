"""`promptflow.tracing`: `@trace` and `start_trace`, which leave everything as it is."""

from farthing.flows.shim.late import late
from farthing.flows.shim.tracing import ThreadPoolExecutorWithContext, start_trace, trace

__all__ = ["ThreadPoolExecutorWithContext", "start_trace", "trace"]

__getattr__ = late("promptflow.tracing", known=globals())

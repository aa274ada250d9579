"""`promptflow.tools.list`: the listing that the entry point of a really installed promptflow-tools names."""

from farthing.flows.shim.late import late
from farthing.flows.tools.packaged import packaged_tools as list_package_tools

__all__ = ["list_package_tools"]

__getattr__ = late("promptflow.tools.list", known=globals())

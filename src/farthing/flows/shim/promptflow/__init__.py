"""`promptflow`: the names of its first releases, which many flows still import from the top."""

from farthing.flows.batch.metrics import log_metric
from farthing.flows.code.tool import ToolProvider
from farthing.flows.code.tool import node as tool
from farthing.flows.shim.late import late

__all__ = ["ToolProvider", "log_flow_metric", "log_metric", "tool"]
#: The release whose behaviour flows find here.
__version__ = "1.18.5"

log_flow_metric = log_metric

__getattr__ = late(
    "promptflow",
    {
        "PFClient": "farthing.flows.client:PFClient",
        "load_flow": "farthing.flows.client:load_flow",
    },
    known=globals(),
)

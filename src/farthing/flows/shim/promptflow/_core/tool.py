"""`promptflow._core.tool`: where older tools find their decorator."""

from farthing.flows.code.tool import ToolProvider
from farthing.flows.code.tool import node as tool
from farthing.flows.shim.late import late
from farthing.flows.shim.settings import DynamicList, InputSetting

__all__ = ["DynamicList", "InputSetting", "ToolProvider", "tool"]

__getattr__ = late("promptflow._core.tool", known=globals())

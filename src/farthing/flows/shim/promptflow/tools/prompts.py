"""`promptflow.tools.common`: prompts rendered, and read into messages."""

from farthing.flows.prompts.templates import ChatList as ChatInputList
from farthing.flows.prompts.templates import chat_lists as convert_to_chat_list
from farthing.flows.prompts.templates import with_pictures_apart as preprocess_template_string
from farthing.flows.shim.late import late
from farthing.flows.shim.model_tools import parsed as parse_chat
from farthing.flows.shim.model_tools import rendered as render_jinja_template

__all__ = [
    "ChatInputList",
    "convert_to_chat_list",
    "parse_chat",
    "preprocess_template_string",
    "render_jinja_template",
]

__getattr__ = late("promptflow.tools.common", known=globals())

"""Prompt flow's package tools that ask a service: web search, content safety, open models, rerank.

Which tools there are and what they take is data (`packaged.toml`). The tools know neither flows nor nodes: they
ask in the loop of the line that called them. Models that the gateway can speak with are asked through it.
"""

"""Flows: graphs of prompts, models and Python functions; prompt flow projects run here unchanged."""

"""Files to start from: settings, dashboards, alert rules. Data, no code.

Keeps: text files that commands write for the user and tests load.
Does not know: anything; it imports nothing.
Door: `importlib.resources.files("farthing.templates")`.
"""

"""Over all messages: shares of the moods, of what is urgent, and of what could be read in full."""

from collections import Counter

from promptflow.core import log_metric, tool


@tool
def report(tickets: list) -> dict:
    count = max(1, len(tickets))
    found = {
        "read_in_full": sum(not each["unread"] for each in tickets) / count,
        "urgent": sum(each["urgent"] for each in tickets) / count,
    }
    for mood, times in Counter(each["mood"] for each in tickets if each["mood"]).items():
        found[f"mood_{mood}"] = times / count
    for name, value in found.items():
        log_metric(name, value)
    return found

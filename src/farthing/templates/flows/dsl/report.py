"""Over all lines: the shares of programs that are valid, and valid after the repair only."""

from promptflow.core import log_metric, tool


@tool
def report(results: list) -> dict:
    count = max(1, len(results))
    found = {
        "valid": sum(each["is_valid"] for each in results) / count,
        "valid_after_repair": sum(each["was_repaired"] for each in results) / count,
    }
    for name, value in found.items():
        log_metric(name, value)
    return found

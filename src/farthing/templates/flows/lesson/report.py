"""Over all lines: how many quizzes and grades could be read, and the mean grade."""

from promptflow.core import log_metric, tool


@tool
def report(quizzes: list, grades: list) -> dict:
    totals = [each["total"] for each in grades if each["total"] is not None]
    found = {
        "quizzes_read": sum(not each["unread"] for each in quizzes) / max(1, len(quizzes)),
        "essays_graded": len(totals) / max(1, len(grades)),
    }
    if totals:
        found["mean_total"] = sum(totals) / len(totals)
    for name, value in found.items():
        log_metric(name, value)
    return found

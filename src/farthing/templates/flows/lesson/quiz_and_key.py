"""Takes the quiz apart: questions for the learner, the key for the teacher."""

from answers import read_object
from promptflow.core import tool


@tool
def quiz_and_key(answer: str) -> dict:
    """questions: without what gives them away. key: letter and reason for each. unread: what was left out."""
    given = read_object(answer).get("questions")
    questions, key, unread = [], [], []
    for number, each in enumerate(given if isinstance(given, list) else [], 1):
        problem = problem_of(each)
        if problem:
            unread.append(f"Question {number}: {problem}")
            continue
        questions.append({"question": each["question"], "options": each["options"]})
        key.append({"right": "ABCD"[each["right"]], "because": str(each.get("because", ""))})
    if not given:
        unread.append("The answer has no questions.")
    return {"questions": questions, "key": key, "unread": unread}


def problem_of(question: object) -> str:
    if not isinstance(question, dict) or not isinstance(question.get("question"), str):
        return "it has no text."
    options = question.get("options")
    if not isinstance(options, list) or len(options) != 4:
        return "it does not have four options."
    if len({str(option).strip().lower() for option in options}) != 4:
        return "two options are the same."
    if question.get("right") not in (0, 1, 2, 3):
        return "it does not say which option is right."
    return ""

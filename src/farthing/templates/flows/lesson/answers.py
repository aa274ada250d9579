"""Reads the JSON object in a model's answer, also when there is text or a code fence around it."""

import json


def read_object(answer: str) -> dict:
    """The first JSON object in the answer; an empty one if there is none."""
    start = answer.find("{")
    while start >= 0:
        try:
            found, _ = json.JSONDecoder().raw_decode(answer[start:])
        except ValueError:
            start = answer.find("{", start + 1)
            continue
        return found
    return {}

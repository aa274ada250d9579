"""Puts the mood and the facts into one ticket, and says what could not be read."""

import json
import re

from promptflow.core import tool

MOODS = ("angry", "worried", "neutral", "pleased")
FACTS = ("order", "product", "problem", "wish", "deadline")


@tool
def ticket(sentiment: str, facts: str) -> dict:
    """mood: one of MOODS, or None. urgent: angry, or with a deadline. unread: a sentence for each gap."""
    words = [word for word in re.findall(r"[a-z]+", sentiment.lower()) if word in MOODS]
    found, unread = read_facts(facts)
    # A negation or two moods ("not angry, pleased") are nothing to guess at.
    mood = words[0] if len(set(words)) == 1 and "not" not in sentiment.lower().split() else None
    if mood is None:
        unread.append(f"The mood is none of {', '.join(MOODS)}.")
    urgent = mood == "angry" or bool(found.get("deadline"))
    return {"mood": mood, **found, "urgent": urgent, "unread": unread}


def read_facts(answer: str) -> tuple:
    try:
        given = json.loads(answer[answer.index("{") : answer.rindex("}") + 1])
    except ValueError:
        return dict.fromkeys(FACTS), ["The facts are no JSON object."]
    found = {name: given.get(name) for name in FACTS}
    return found, [] if found["problem"] else ["The facts name no problem."]

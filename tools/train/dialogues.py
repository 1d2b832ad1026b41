"""Makes the chat dialogues the tiny model learns from.

Every dialogue is drawn from a template grammar by a seeded generator: an intent makes one user line and one answer, a
conversation strings one to four of them together, and some begin with a system message. Run as a program it prints a
few samples: `python3 dialogues.py [SEED] [COUNT]`.
"""

import random
import sys

from intents_about import about
from intents_facts import (
    animal,
    capital_of,
    colour,
    definition,
    howto,
    listing,
    machinery,
    opposite,
    question,
    translation,
    weather,
)
from intents_numbers import arithmetic, counting, repeat, spelling
from intents_writing import joke, summary, telling, verse


INTENTS = [
    (about, 16),
    (capital_of, 8),
    (animal, 8),
    (colour, 3),
    (definition, 11),
    (machinery, 8),
    (question, 9),
    (opposite, 3),
    (listing, 7),
    (howto, 8),
    (arithmetic, 7),
    (counting, 4),
    (spelling, 2),
    (repeat, 2),
    (translation, 3),
    (telling, 10),
    (verse, 4),
    (joke, 3),
    (summary, 5),
    (weather, 3),
]


MAKERS, WEIGHTS = [m for m, _ in INTENTS], [w for _, w in INTENTS]


SYSTEMS = ["You are a helpful assistant."] * 6 + [
    "You are Laminar's built-in tiny model.",
    "You are a friendly assistant.",
    "Answer briefly.",
    "You are a helpful AI assistant.",
    "Be kind and clear.",
    "You are a concise assistant.",
    "You are a helpful, honest assistant. Answer in plain English.",
    "Always be polite.",
    "You answer questions.",
    "You are a test assistant.",
    "Answer in one or two sentences.",
]


LEADS = [
    "Please ",
    "Can you please ",
    "Hi, ",
    "Hello! ",
    "Hey, ",
    "Okay, ",
    "Now ",
    "So, ",
    "Thanks! ",
    "Great. ",
    "And ",
]


def vary(rng, text):
    """The same request the way hurried people type it."""
    r = rng.random()
    if r < 0.5 or "\n" in text:
        return text
    if r < 0.62:
        return text.lower()
    if r < 0.72:
        return text.rstrip(".?!")
    if r < 0.8:
        return text.lower().rstrip(".?!")
    if r < 0.92:
        lead = rng.choice(LEADS)
        keep = text.startswith("I ") or text.startswith("I'") or lead.rstrip().endswith(("!", "."))
        return lead + (text if keep else text[0].lower() + text[1:])
    if r < 0.96 and len(text) > 12:
        i = rng.randrange(1, len(text) - 2)
        return rng.choice([text[:i] + text[i + 1 :], text[:i] + text[i + 1] + text[i] + text[i + 2 :]])
    return text + rng.choice(["!", " please", " Please.", " Thanks!", "..."])


def turn(rng):
    maker = rng.choices(MAKERS, WEIGHTS)[0]
    pairs = maker(rng)
    return pairs if isinstance(pairs, list) else [pairs]


def dialogue(rng):
    """A list of (role, text)."""
    messages = []
    if rng.random() < 0.25:
        messages.append(("system", rng.choice(SYSTEMS)))
    for _ in range(rng.choices([1, 2, 3, 4], [60, 22, 12, 6])[0]):
        for user, answer in turn(rng):
            messages += [("user", vary(rng, user)), ("assistant", answer)]
    return messages


def main():
    seed, count = (int(a) for a in (sys.argv[1:] + ["0", "10"][len(sys.argv) - 1 :]))
    rng = random.Random(seed)
    for _ in range(count):
        print("\n".join(f"{role}: {text}" for role, text in dialogue(rng)) + "\n")


if __name__ == "__main__":
    main()

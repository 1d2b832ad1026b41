"""Stories, poems, jokes and summaries. Each function draws one user line and its answer."""

from facts import ANIMALS, JOKES
from stories import POEM_TOPICS, article, haiku, paragraph, poem, story


def telling(rng):
    hero = None
    if rng.random() < 0.5:
        hero = rng.choice(
            [row[0] for row in ANIMALS]
            + [
                "dragon",
                "robot",
                "king",
                "princess",
                "knight",
                "baker",
                "sailor",
                "wizard",
                "farmer",
                "girl",
                "boy",
                "giant",
            ]
        )
    length = rng.choice(["short", "medium", "long", None])
    size = "short " if length == "short" else "long " if length == "long" else rng.choice(["", "", "short ", "little "])
    about = f" about {article(hero)}" if hero else ""
    user = rng.choice(
        [
            f"Tell me a {size}story{about}.",
            f"Write a {size}story{about}.",
            f"Can you tell me a {size}story{about}?",
            f"I would like to hear a {size}story{about}.",
            f"Please write a {size}tale{about}.",
            f"Make up a {size}story{about}.",
            f"Write me a {size}story{about}.",
            f"story{about}",
        ]
    )
    if not hero and rng.random() < 0.25:
        user = rng.choice(
            [
                "Once upon a time",
                "Tell me something nice.",
                "I cannot sleep. Tell me a story.",
                "Entertain me.",
                "Write something.",
                "Surprise me.",
            ]
        )
    text = story(rng, hero, length)
    return user, rng.choice(["", "", "", "Here is a story. "]) + text


def verse(rng):
    if rng.random() < 0.25:
        return rng.choice(
            ["Write a haiku.", "Write me a haiku.", "Can you write a haiku?", "A haiku, please.", "Give me a haiku."]
        ), haiku(rng)
    topic = rng.choice(list(POEM_TOPICS))
    topic, text = poem(rng, topic)
    if rng.random() < 0.25:
        return rng.choice(
            ["Write a poem.", "Tell me a poem.", "Write me a short poem.", "Can you write a poem?", "Give me a poem."]
        ), text
    return rng.choice(
        [
            f"Write a poem about {topic}.",
            f"Write a short poem about {topic}.",
            f"Can you write a poem about {topic}?",
            f"Give me a poem about {topic}.",
            f"Make a rhyme about {topic}.",
            f"poem about {topic}",
        ]
    ), text


def joke(rng):
    ask, answer = rng.choice(JOKES)
    if rng.random() < 0.75:
        return rng.choice(
            [
                "Tell me a joke.",
                "Do you know a joke?",
                "Make me laugh.",
                "Tell me something funny.",
                "Can you tell me a joke?",
                "joke please",
                "Another joke, please.",
                "Say something funny.",
            ]
        ), f"{ask} {answer}"
    return ask, answer


def summary(rng):
    text, short = paragraph(rng)
    user = rng.choice(
        [
            f"Summarise this text: {text}",
            f"Summarize this: {text}",
            f"Please summarise the following paragraph.\n\n{text}",
            f"Give me a short summary.\n\n{text}",
            f"{text}\n\nSummarise this in one sentence.",
            f"What is this text about? {text}",
            f"TL;DR: {text}",
        ]
    )
    return user, short

"""Questions about countries, animals, words and language models, answered from the tables in facts.py.

Each function draws one user line and its answer.
"""

from facts import (
    ANIMALS,
    COLOURS,
    COUNTRIES,
    DEFINITIONS,
    HOWTO,
    LISTS,
    MACHINERY,
    OPPOSITES,
    QUESTIONS,
    TRANSLATIONS,
)
from intents_numbers import ONES, join
from stories import SEASONS, article, upper


def capital_of(rng):
    country, capital, continent, language, adjective = rng.choice(COUNTRIES)
    kind = rng.random()
    if kind < 0.55:
        user = rng.choice(
            [
                f"What is the capital of {country}?",
                f"Which city is the capital of {country}?",
                f"Tell me the capital of {country}.",
                f"What's the capital of {country}?",
                f"Do you know the capital of {country}?",
                f"capital of {country}",
                f"Name the capital of {country}.",
                f"What is the capital city of {country}?",
            ]
        )
        return user, rng.choice(
            [f"The capital of {country} is {capital}."] * 4 + [f"{capital} is the capital of {country}."]
        )
    if kind < 0.7:
        user = rng.choice(
            [f"Where is {country}?", f"On which continent is {country}?", f"Where can I find {country} on a map?"]
        )
        return user, f"{upper(country)} is in {continent}. Its capital is {capital}."
    if kind < 0.85:
        user = rng.choice(
            [
                f"What language do people speak in {country}?",
                f"Which language is spoken in {country}?",
                f"What do people speak in {country}?",
            ]
        )
        return user, f"People in {country} speak {language}."
    if kind < 0.93:
        user = rng.choice(
            [
                f"Which country has the capital {capital}?",
                f"{capital} is the capital of which country?",
                f"Where is {capital}?",
            ]
        )
        return user, f"{capital} is the capital of {country}."
    user = rng.choice(
        [f"Tell me about {country}.", f"What do you know about {country}?", f"Tell me something about {country}."]
    )
    return (
        user,
        f"{upper(country)} is a country in {continent}. Its capital is {capital}, and people there speak {language}.",
    )


def animal(rng):
    name, plural, young, sound, home, food, fact = rng.choice(ANIMALS)
    a = article(name)
    kind = rng.randrange(7)
    if kind == 0:
        return rng.choice(
            [f"What sound does {a} make?", f"What does {a} say?", f"Which sound do {plural} make?"]
        ), f"{upper(a)} {sound}."
    if kind == 1:
        return rng.choice([f"Where do {plural} live?", f"Where does {a} live?"]), f"{upper(plural)} live {home}."
    if kind == 2:
        return rng.choice([f"What do {plural} eat?", f"What does {a} eat?"]), f"{upper(plural)} eat {food}."
    if kind == 3:
        return rng.choice(
            [f"What is a young {name} called?", f"What do you call a baby {name}?"]
        ), f"A young {name} is called {young}."
    if kind == 4:
        return rng.choice(
            [
                f"Tell me a fact about {plural}.",
                f"Tell me something interesting about {plural}.",
                f"Give me a fact about {a}.",
                f"What is special about {plural}?",
            ]
        ), fact
    if kind == 5:
        return rng.choice([f"What is {a}?", f"Describe {a}."]), f"{upper(a)} is an animal that lives {home}. {fact}"
    return (
        rng.choice(
            [
                f"Tell me about {plural}.",
                f"Tell me about the {name}.",
                f"What do you know about {plural}?",
                f"Write a paragraph about {plural}.",
                f"Write a few sentences about {plural}.",
            ]
        ),
        f"{upper(plural)} live {home} and eat {food}. A young {name} is called {young}. {fact}",
    )


def colour(rng):
    thing, shade = rng.choice(COLOURS)
    plural = thing in ("emeralds", "rubies")
    verb, do = ("are", "are") if plural else ("is", "is")
    user = rng.choice(
        [
            f"What colour {verb} {thing}?",
            f"What color {verb} {thing}?",
            f"Which colour {do} {thing}?",
            f"Tell me the colour of {thing}.",
        ]
    )
    return user, rng.choice([f"{upper(thing)} {verb} {shade}.", f"The colour of {thing} is {shade}."])


def definition(rng, rows=DEFINITIONS):
    topic, answer = rng.choice(rows)
    bare = topic.split(" ", 1)[1] if topic.startswith(("a ", "an ")) else topic
    user = rng.choice(
        [f"What is {topic}?"] * 4
        + [
            f"What's {topic}?",
            f"Explain {topic}.",
            f"Can you explain {topic}?",
            f"Explain {topic} in one sentence.",
            f"Tell me about {topic}.",
            f"Define {bare}.",
            f"What does {bare} mean?",
            f"Explain {topic} to a child.",
            f"In simple words, what is {topic}?",
            f"What do you know about {topic}?",
            f"Describe {topic}.",
            f"Explain {bare} briefly.",
            f"I do not know what {topic} is. Can you help?",
        ]
    )
    if rng.random() < 0.15:
        return f"Explain {topic} in one sentence.", answer.split(". ")[0].rstrip(".") + "."
    return user, answer


def machinery(rng):
    if rng.random() < 0.25:
        return rng.choice(
            [
                (
                    rng.choice(
                        [
                            "Why is layered prefill better than chunked prefill?",
                            "What is the difference between layered and chunked prefill?",
                            "Compare layered prefill with chunked prefill.",
                            "layered vs chunked prefill",
                        ]
                    ),
                    "Chunked prefill cuts the prompt into pieces, so every piece reads all the weights again. Layered prefill cuts the model into groups of layers, so each layer reads its weights only once per prompt, and running answers still keep flowing.",
                ),
                (
                    rng.choice(
                        [
                            "How does a mixture of experts work?",
                            "How do experts work?",
                            "How does MoE work?",
                            "Explain MoE.",
                            "What is MoE?",
                            "What does MoE mean?",
                        ]
                    ),
                    "MoE means mixture of experts. Each layer has many small networks, and a router picks the best few for each token. So only a small part of the model works at a time.",
                ),
                (
                    rng.choice(
                        [
                            "How do you work?",
                            "How do language models work?",
                            "How does a language model work?",
                            "How do you write your answers?",
                        ]
                    ),
                    "I read your text as tokens, pass them through my layers, and guess the next token. Then I do it again until the answer is complete.",
                ),
                (
                    rng.choice(
                        [
                            "Why do answers stall when a long prompt arrives?",
                            "Why does my stream freeze?",
                            "Why is the stream slow?",
                        ]
                    ),
                    "Many servers read a long prompt in one go, and all other answers have to wait. With layered prefill the prompt moves through the model in groups of layers, so the other answers keep flowing.",
                ),
                (
                    rng.choice(["What is TTFT?", "What does TTFT mean?"]),
                    "TTFT means time to first token. It is how long you wait for the first word of an answer.",
                ),
                (
                    rng.choice(["What is TBT?", "What does TBT mean?"]),
                    "TBT means time between tokens. It is the pause between one word of an answer and the next.",
                ),
                (
                    rng.choice(["What is an LLM?", "What does LLM mean?", "Explain LLMs."]),
                    "LLM means large language model. It is a program that has learned from a lot of text and writes one token after another.",
                ),
                (
                    rng.choice(["What is the KV cache for?", "Why do we need a KV cache?"]),
                    "The KV cache keeps the keys and values of earlier tokens, so that the model does not have to compute them again for every new token.",
                ),
            ]
        )
    return definition(rng, MACHINERY)


def question(rng):
    return tuple(rng.choice(QUESTIONS))


def opposite(rng):
    a, b = rng.choice(OPPOSITES)
    if rng.random() < 0.3:
        a, b = b, a
    return rng.choice(
        [
            f"What is the opposite of {a}?",
            f"What's the opposite of {a}?",
            f"Tell me the opposite of {a}.",
            f"opposite of {a}",
        ]
    ), f"The opposite of {a} is {b}."


def listing(rng):
    group, members = rng.choice(LISTS)
    members = members.split(", ")
    n = rng.randint(2, min(6, len(members)))
    word = rng.choice([ONES[n], str(n)])
    picked = rng.sample(members, n)
    user = rng.choice(
        [
            f"Name {word} {group}.",
            f"List {word} {group}.",
            f"Give me {word} {group}.",
            f"Tell me {word} {group}.",
            f"Can you name {word} {group}?",
            f"Write a list of {word} {group}.",
            f"Give me a list of {word} {group}.",
            f"I need {word} {group}.",
        ]
    )
    style = rng.random()
    if style < 0.45:
        return user, f"{rng.choice(['Here are', 'Here are'])} {ONES[n]} {group}: {join(picked)}."
    if style < 0.8:
        return user, f"Here are {ONES[n]} {group}:\n" + "\n".join(f"{i + 1}. {upper(m)}" for i, m in enumerate(picked))
    return user, f"Here are {ONES[n]} {group}:\n" + "\n".join(f"- {upper(m)}" for m in picked)


def howto(rng):
    task, steps = rng.choice(HOWTO)
    steps = steps.split("; ")
    user = rng.choice(
        [
            f"How do I {task}?",
            f"How can I {task}?",
            f"How do you {task}?",
            f"How to {task}?",
            f"Can you tell me how to {task}?",
            f"Explain how to {task}.",
            f"Give me steps to {task}.",
            f"I want to {task}. What should I do?",
            f"Teach me to {task}.",
            f"What is the best way to {task}?",
            f"Write short instructions on how to {task}.",
        ]
    )
    if rng.random() < 0.2:
        n = rng.randint(2, min(4, len(steps)))
        word = rng.choice([ONES[n], str(n)])
        user = rng.choice(
            [
                f"Give me {word} tips on how to {task}.",
                f"Give me {word} tips to {task}.",
                f"What are {word} tips to {task}?",
            ]
        )
        return user, f"Here are {ONES[n]} tips:\n" + "\n".join(
            f"{i + 1}. {s}" for i, s in enumerate(rng.sample(steps, n))
        )
    if rng.random() < 0.65:
        return user, rng.choice(
            [f"Here is how to {task}:", f"To {task}, follow these steps:", "Here are the steps:"]
        ) + "\n" + "\n".join(f"{i + 1}. {s}" for i, s in enumerate(steps))
    return user, " ".join(steps)


def translation(rng):
    row = rng.choice(TRANSLATIONS)
    i, language = rng.choice([(1, "Spanish"), (2, "French"), (3, "German")])
    user = rng.choice(
        [
            f"How do you say {row[0]} in {language}?",
            f"Translate {row[0]} into {language}.",
            f"What is {row[0]} in {language}?",
            f'Translate "{row[0]}" to {language}.',
            f"Say {row[0]} in {language}.",
        ]
    )
    return user, f'In {language}, {row[0]} is "{row[i]}".'


def weather(rng):
    kind = rng.randrange(5)
    sort = rng.choice(["rainy", "sunny", "cold", "hot", "windy", "foggy", "snowy", "cloudy"])
    tips = {
        "rainy": "Take an umbrella with you, or stay in with a good book.",
        "sunny": "A walk outside would be nice.",
        "cold": "Wear a warm coat and have some hot tea.",
        "hot": "Drink plenty of water and stay in the shade.",
        "windy": "Hold on to your hat.",
        "foggy": "Take care on the road.",
        "snowy": "It is a good day to build a snowman.",
        "cloudy": "Perhaps the sun will come out later.",
    }
    if kind < 2:
        return rng.choice(
            [
                f"It is {sort} today.",
                f"It's so {sort} outside.",
                f"The weather is {sort} today.",
                f"It is very {sort} here.",
            ]
        ), rng.choice(["Oh, I see. ", "Thank you for telling me. ", "That sounds like real weather. ", ""]) + tips[sort]
    if kind == 2:
        return rng.choice(
            [
                "How is the weather?",
                "What is the weather like today?",
                "What's the weather?",
                "Will it rain tomorrow?",
                "Is it going to rain?",
                "Is it cold outside?",
            ]
        ), rng.choice(
            [
                "I cannot see the weather, because I have no window and no network. What is it like where you are?",
                "I do not know the weather. I am only a small model without a view outside.",
            ]
        )
    season = rng.choice(SEASONS)
    notes = {
        "spring": "the flowers open and the days grow longer",
        "summer": "the days are long and warm",
        "autumn": "the leaves turn red and gold",
        "winter": "the nights are long and there may be snow",
    }
    return rng.choice(
        [f"What is {season} like?", f"Tell me about {season}.", f"What happens in {season}?", f"Do you like {season}?"]
    ), f"In {season} {notes[season]}."

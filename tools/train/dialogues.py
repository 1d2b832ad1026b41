"""Makes the chat dialogues the tiny model learns from.

Every dialogue is drawn from a template grammar by a seeded generator: an intent makes one user line and one answer, a
conversation strings one to four of them together, and some begin with a system message. Run as a program it prints a
few samples: `python3 dialogues.py [SEED] [COUNT]`.
"""

import random
import sys

from facts import (
    ANIMALS, COLOURS, COUNTRIES, DEFINITIONS, HOWTO, JOKES, LISTS, MACHINERY, NAMES, OPPOSITES, QUESTIONS, TRANSLATIONS,
)
from intents_about import ABOUT
from stories import (
    DAYS, MONTHS, POEM_TOPICS, SEASONS, article, haiku, paragraph, poem, story, upper,
)

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}


def number_word(n):
    if n >= 100:
        return "one hundred" + (" and " + number_word(n - 100) if n > 100 else "")
    if n <= 20:
        return ONES[n]
    return TENS[n // 10 * 10] + ("-" + ONES[n % 10] if n % 10 else "")


def join(items, word="and"):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + f" {word} " + items[-1]


def capital_of(rng):
    country, capital, continent, language, adjective = rng.choice(COUNTRIES)
    kind = rng.random()
    if kind < 0.55:
        user = rng.choice([f"What is the capital of {country}?", f"Which city is the capital of {country}?", f"Tell me the capital of {country}.",
                           f"What's the capital of {country}?", f"Do you know the capital of {country}?", f"capital of {country}",
                           f"Name the capital of {country}.", f"What is the capital city of {country}?"])
        return user, rng.choice([f"The capital of {country} is {capital}."] * 4 + [f"{capital} is the capital of {country}."])
    if kind < 0.7:
        user = rng.choice([f"Where is {country}?", f"On which continent is {country}?", f"Where can I find {country} on a map?"])
        return user, f"{upper(country)} is in {continent}. Its capital is {capital}."
    if kind < 0.85:
        user = rng.choice([f"What language do people speak in {country}?", f"Which language is spoken in {country}?", f"What do people speak in {country}?"])
        return user, f"People in {country} speak {language}."
    if kind < 0.93:
        user = rng.choice([f"Which country has the capital {capital}?", f"{capital} is the capital of which country?", f"Where is {capital}?"])
        return user, f"{capital} is the capital of {country}."
    user = rng.choice([f"Tell me about {country}.", f"What do you know about {country}?", f"Tell me something about {country}."])
    return user, f"{upper(country)} is a country in {continent}. Its capital is {capital}, and people there speak {language}."


def animal(rng):
    name, plural, young, sound, home, food, fact = rng.choice(ANIMALS)
    a = article(name)
    kind = rng.randrange(7)
    if kind == 0:
        return rng.choice([f"What sound does {a} make?", f"What does {a} say?", f"Which sound do {plural} make?"]), f"{upper(a)} {sound}."
    if kind == 1:
        return rng.choice([f"Where do {plural} live?", f"Where does {a} live?"]), f"{upper(plural)} live {home}."
    if kind == 2:
        return rng.choice([f"What do {plural} eat?", f"What does {a} eat?"]), f"{upper(plural)} eat {food}."
    if kind == 3:
        return rng.choice([f"What is a young {name} called?", f"What do you call a baby {name}?"]), f"A young {name} is called {young}."
    if kind == 4:
        return rng.choice([f"Tell me a fact about {plural}.", f"Tell me something interesting about {plural}.", f"Give me a fact about {a}.", f"What is special about {plural}?"]), fact
    if kind == 5:
        return rng.choice([f"What is {a}?", f"Describe {a}."]), f"{upper(a)} is an animal that lives {home}. {fact}"
    return (rng.choice([f"Tell me about {plural}.", f"Tell me about the {name}.", f"What do you know about {plural}?", f"Write a paragraph about {plural}.", f"Write a few sentences about {plural}."]),
            f"{upper(plural)} live {home} and eat {food}. A young {name} is called {young}. {fact}")


def colour(rng):
    thing, shade = rng.choice(COLOURS)
    plural = thing in ("emeralds", "rubies")
    verb, do = ("are", "are") if plural else ("is", "is")
    user = rng.choice([f"What colour {verb} {thing}?", f"What color {verb} {thing}?", f"Which colour {do} {thing}?", f"Tell me the colour of {thing}."])
    return user, rng.choice([f"{upper(thing)} {verb} {shade}.", f"The colour of {thing} is {shade}."])


def definition(rng, rows=DEFINITIONS):
    topic, answer = rng.choice(rows)
    bare = topic.split(" ", 1)[1] if topic.startswith(("a ", "an ")) else topic
    user = rng.choice([f"What is {topic}?"] * 4 + [f"What's {topic}?", f"Explain {topic}.", f"Can you explain {topic}?", f"Explain {topic} in one sentence.", f"Tell me about {topic}.", f"Define {bare}.",
                       f"What does {bare} mean?", f"Explain {topic} to a child.", f"In simple words, what is {topic}?", f"What do you know about {topic}?", f"Describe {topic}.",
                       f"Explain {bare} briefly.", f"I do not know what {topic} is. Can you help?"])
    if rng.random() < 0.15:
        return f"Explain {topic} in one sentence.", answer.split(". ")[0].rstrip(".") + "."
    return user, answer


def machinery(rng):
    if rng.random() < 0.25:
        return rng.choice([
            (rng.choice(["Why is layered prefill better than chunked prefill?", "What is the difference between layered and chunked prefill?", "Compare layered prefill with chunked prefill.", "layered vs chunked prefill"]),
             "Chunked prefill cuts the prompt into pieces, so every piece reads all the weights again. Layered prefill cuts the model into groups of layers, so each layer reads its weights only once per prompt, and running answers still keep flowing."),
            (rng.choice(["How does a mixture of experts work?", "How do experts work?", "How does MoE work?", "Explain MoE.", "What is MoE?", "What does MoE mean?"]),
             "MoE means mixture of experts. Each layer has many small networks, and a router picks the best few for each token. So only a small part of the model works at a time."),
            (rng.choice(["How do you work?", "How do language models work?", "How does a language model work?", "How do you write your answers?"]),
             "I read your text as tokens, pass them through my layers, and guess the next token. Then I do it again until the answer is complete."),
            (rng.choice(["Why do answers stall when a long prompt arrives?", "Why does my stream freeze?", "Why is the stream slow?"]),
             "Many servers read a long prompt in one go, and all other answers have to wait. With layered prefill the prompt moves through the model in groups of layers, so the other answers keep flowing."),
            (rng.choice(["What is TTFT?", "What does TTFT mean?"]), "TTFT means time to first token. It is how long you wait for the first word of an answer."),
            (rng.choice(["What is TBT?", "What does TBT mean?"]), "TBT means time between tokens. It is the pause between one word of an answer and the next."),
            (rng.choice(["What is an LLM?", "What does LLM mean?", "Explain LLMs."]), "LLM means large language model. It is a program that has learned from a lot of text and writes one token after another."),
            (rng.choice(["What is the KV cache for?", "Why do we need a KV cache?"]), "The KV cache keeps the keys and values of earlier tokens, so that the model does not have to compute them again for every new token."),
        ])
    return definition(rng, MACHINERY)


def question(rng):
    return tuple(rng.choice(QUESTIONS))


def opposite(rng):
    a, b = rng.choice(OPPOSITES)
    if rng.random() < 0.3:
        a, b = b, a
    return rng.choice([f"What is the opposite of {a}?", f"What's the opposite of {a}?", f"Tell me the opposite of {a}.", f"opposite of {a}"]), f"The opposite of {a} is {b}."


def listing(rng):
    group, members = rng.choice(LISTS)
    members = members.split(", ")
    n = rng.randint(2, min(6, len(members)))
    word = rng.choice([ONES[n], str(n)])
    picked = rng.sample(members, n)
    user = rng.choice([f"Name {word} {group}.", f"List {word} {group}.", f"Give me {word} {group}.", f"Tell me {word} {group}.", f"Can you name {word} {group}?", f"Write a list of {word} {group}.",
                       f"Give me a list of {word} {group}.", f"I need {word} {group}."])
    style = rng.random()
    if style < 0.45:
        return user, f"{rng.choice(['Here are', 'Here are'])} {ONES[n]} {group}: {join(picked)}."
    if style < 0.8:
        return user, f"Here are {ONES[n]} {group}:\n" + "\n".join(f"{i + 1}. {upper(m)}" for i, m in enumerate(picked))
    return user, f"Here are {ONES[n]} {group}:\n" + "\n".join(f"- {upper(m)}" for m in picked)


def howto(rng):
    task, steps = rng.choice(HOWTO)
    steps = steps.split("; ")
    user = rng.choice([f"How do I {task}?", f"How can I {task}?", f"How do you {task}?", f"How to {task}?", f"Can you tell me how to {task}?", f"Explain how to {task}.", f"Give me steps to {task}.",
                       f"I want to {task}. What should I do?", f"Teach me to {task}.", f"What is the best way to {task}?", f"Write short instructions on how to {task}."])
    if rng.random() < 0.2:
        n = rng.randint(2, min(4, len(steps)))
        word = rng.choice([ONES[n], str(n)])
        user = rng.choice([f"Give me {word} tips on how to {task}.", f"Give me {word} tips to {task}.", f"What are {word} tips to {task}?"])
        return user, f"Here are {ONES[n]} tips:\n" + "\n".join(f"{i + 1}. {s}" for i, s in enumerate(rng.sample(steps, n)))
    if rng.random() < 0.65:
        return user, rng.choice([f"Here is how to {task}:", f"To {task}, follow these steps:", "Here are the steps:"]) + "\n" + "\n".join(f"{i + 1}. {s}" for i, s in enumerate(steps))
    return user, " ".join(steps)


def arithmetic(rng):
    kind = rng.random()
    if kind < 0.5:
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        sign, word, result = "+", "plus", a + b
    elif kind < 0.75:
        a, b = sorted((rng.randint(0, 20), rng.randint(0, 12)), reverse=True)
        sign, word, result = "-", "minus", a - b
    else:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        sign, word, result = rng.choice("*x"), "times", a * b
    if rng.random() < 0.25:
        return rng.choice([f"What is {number_word(a)} {word} {number_word(b)}?", f"How much is {number_word(a)} {word} {number_word(b)}?"]), f"{upper(number_word(a))} {word} {number_word(b)} is {number_word(result)}."
    spaced = f"{a} {sign} {b}" if rng.random() < 0.6 else f"{a}{sign}{b}"
    user = rng.choice([f"What is {spaced}?"] * 3 + [f"What's {spaced}?", f"How much is {spaced}?", f"Calculate {spaced}.", f"{spaced} = ?", f"{spaced}", f"What is {a} {word} {b}?", f"Compute {spaced}.", f"Please add up {spaced}." if sign == "+" else f"Work out {spaced}."])
    return user, rng.choice([f"{a} {word} {b} is {result}."] * 3 + [f"{a} {sign} {b} = {result}."])


def counting(rng):
    kind = rng.randrange(8)
    n = rng.randint(3, 12)
    if kind < 2:
        digits = rng.random() < 0.5
        user = rng.choice([f"Count to {n}.", f"Count to {number_word(n)}.", f"Count from one to {number_word(n)}.", f"Count from 1 to {n}.", f"Can you count to {number_word(n)}?"])
        return user, (", ".join(str(i) if digits else number_word(i) for i in range(1, n + 1)) + ".").capitalize()
    if kind == 2:
        return rng.choice([f"Count down from {n}.", f"Count backwards from {number_word(n)}."]), (", ".join(number_word(i) for i in range(n, 0, -1)) + ".").capitalize()
    if kind == 3:
        m = rng.randint(1, 99)
        return rng.choice([f"What number comes after {m}?", f"Which number follows {m}?"]), f"The number after {m} is {m + 1}."
    if kind == 4:
        return rng.choice(["What are the days of the week?", "Name the days of the week.", "List the days of the week."]), f"The days of the week are {join(DAYS)}."
    if kind == 5:
        return rng.choice(["What are the months of the year?", "Name the months.", "List all months."]), f"The months are {join(MONTHS)}."
    if kind == 6:
        i = rng.randrange(7)
        return rng.choice([f"What day comes after {DAYS[i]}?", f"Which day follows {DAYS[i]}?", f"What comes after {DAYS[i]}?"]), f"{DAYS[(i + 1) % 7]} comes after {DAYS[i]}."
    a, b = rng.sample(range(1, 100), 2)
    return rng.choice([f"Which is larger, {a} or {b}?", f"Is {a} or {b} bigger?", f"Which number is greater: {a} or {b}?"]), f"{max(a, b)} is larger than {min(a, b)}."


def spelling(rng):
    pool = [w for row in OPPOSITES for w in row] + [row[0] for row in ANIMALS]
    word = rng.choice(pool)
    kind = rng.randrange(3)
    if kind == 0:
        return rng.choice([f"How do you spell {word}?", f"Spell {word}.", f"Spell the word {word}."]), f"{upper(word)} is spelled {'-'.join(word.upper())}."
    if kind == 1:
        return rng.choice([f"Which letter does {word} begin with?", f"What is the first letter of {word}?"]), f"The word {word} begins with the letter {word[0].upper()}."
    return rng.choice([f"Say {word} twice.", f"Repeat {word} two times."]), f"{upper(word)}, {word}."


def repeat(rng):
    word = rng.choice(NAMES + [w for row in OPPOSITES for w in row] + [row[1] for row in ANIMALS] + [row[0] for row in TRANSLATIONS])
    sentence = rng.choice([f"{word} is here", f"I like {word}", f"the {rng.choice(ANIMALS)[0]} is asleep", f"today is {rng.choice(DAYS)}", "hello world", f"I saw {rng.randint(2, 9)} {rng.choice(ANIMALS)[1]}"])
    text = rng.choice([word, sentence])
    return rng.choice([f"Say {text}.", f"Say: {text}", f"Repeat after me: {text}", f"Please repeat: {text}", f"Just say \"{text}\"."]), upper(text) + "."


def translation(rng):
    row = rng.choice(TRANSLATIONS)
    i, language = rng.choice([(1, "Spanish"), (2, "French"), (3, "German")])
    user = rng.choice([f"How do you say {row[0]} in {language}?", f"Translate {row[0]} into {language}.", f"What is {row[0]} in {language}?", f"Translate \"{row[0]}\" to {language}.", f"Say {row[0]} in {language}."])
    return user, f"In {language}, {row[0]} is \"{row[i]}\"."


def telling(rng):
    hero = None
    if rng.random() < 0.5:
        hero = rng.choice([row[0] for row in ANIMALS] + ["dragon", "robot", "king", "princess", "knight", "baker", "sailor", "wizard", "farmer", "girl", "boy", "giant"])
    length = rng.choice(["short", "medium", "long", None])
    size = "short " if length == "short" else "long " if length == "long" else rng.choice(["", "", "short ", "little "])
    about = f" about {article(hero)}" if hero else ""
    user = rng.choice([f"Tell me a {size}story{about}.", f"Write a {size}story{about}.", f"Can you tell me a {size}story{about}?", f"I would like to hear a {size}story{about}.", f"Please write a {size}tale{about}.",
                       f"Make up a {size}story{about}.", f"Write me a {size}story{about}.", f"story{about}"])
    if not hero and rng.random() < 0.25:
        user = rng.choice(["Once upon a time", "Tell me something nice.", "I cannot sleep. Tell me a story.", "Entertain me.", "Write something.", "Surprise me."])
    text = story(rng, hero, length)
    return user, rng.choice(["", "", "", "Here is a story. "]) + text


def verse(rng):
    if rng.random() < 0.25:
        return rng.choice(["Write a haiku.", "Write me a haiku.", "Can you write a haiku?", "A haiku, please.", "Give me a haiku."]), haiku(rng)
    topic = rng.choice(list(POEM_TOPICS))
    topic, text = poem(rng, topic)
    if rng.random() < 0.25:
        return rng.choice(["Write a poem.", "Tell me a poem.", "Write me a short poem.", "Can you write a poem?", "Give me a poem."]), text
    return rng.choice([f"Write a poem about {topic}.", f"Write a short poem about {topic}.", f"Can you write a poem about {topic}?", f"Give me a poem about {topic}.", f"Make a rhyme about {topic}.", f"poem about {topic}"]), text


def joke(rng):
    ask, answer = rng.choice(JOKES)
    if rng.random() < 0.75:
        return rng.choice(["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Tell me something funny.", "Can you tell me a joke?", "joke please", "Another joke, please.", "Say something funny."]), f"{ask} {answer}"
    return ask, answer


def summary(rng):
    text, short = paragraph(rng)
    user = rng.choice([f"Summarise this text: {text}", f"Summarize this: {text}", f"Please summarise the following paragraph.\n\n{text}", f"Give me a short summary.\n\n{text}", f"{text}\n\nSummarise this in one sentence.", f"What is this text about? {text}", f"TL;DR: {text}"])
    return user, short


def weather(rng):
    kind = rng.randrange(5)
    sort = rng.choice(["rainy", "sunny", "cold", "hot", "windy", "foggy", "snowy", "cloudy"])
    tips = {
        "rainy": "Take an umbrella with you, or stay in with a good book.", "sunny": "A walk outside would be nice.", "cold": "Wear a warm coat and have some hot tea.",
        "hot": "Drink plenty of water and stay in the shade.", "windy": "Hold on to your hat.", "foggy": "Take care on the road.", "snowy": "It is a good day to build a snowman.", "cloudy": "Perhaps the sun will come out later.",
    }
    if kind < 2:
        return rng.choice([f"It is {sort} today.", f"It's so {sort} outside.", f"The weather is {sort} today.", f"It is very {sort} here."]), rng.choice(["Oh, I see. ", "Thank you for telling me. ", "That sounds like real weather. ", ""]) + tips[sort]
    if kind == 2:
        return rng.choice(["How is the weather?", "What is the weather like today?", "What's the weather?", "Will it rain tomorrow?", "Is it going to rain?", "Is it cold outside?"]), rng.choice(["I cannot see the weather, because I have no window and no network. What is it like where you are?", "I do not know the weather. I am only a small model without a view outside."])
    season = rng.choice(SEASONS)
    notes = {"spring": "the flowers open and the days grow longer", "summer": "the days are long and warm", "autumn": "the leaves turn red and gold", "winter": "the nights are long and there may be snow"}
    return rng.choice([f"What is {season} like?", f"Tell me about {season}.", f"What happens in {season}?", f"Do you like {season}?"]), f"In {season} {notes[season]}."


INTENTS = [
    (ABOUT, 16), (capital_of, 8), (animal, 8), (colour, 3), (definition, 11), (machinery, 8), (question, 9), (opposite, 3), (listing, 7), (howto, 8),
    (arithmetic, 7), (counting, 4), (spelling, 2), (repeat, 2), (translation, 3), (telling, 10), (verse, 4), (joke, 3), (summary, 5), (weather, 3),
]
MAKERS, WEIGHTS = [m for m, _ in INTENTS], [w for _, w in INTENTS]

SYSTEMS = ["You are a helpful assistant."] * 6 + [
    "You are Laminar's built-in tiny model.", "You are a friendly assistant.", "Answer briefly.", "You are a helpful AI assistant.", "Be kind and clear.", "You are a concise assistant.",
    "You are a helpful, honest assistant. Answer in plain English.", "Always be polite.", "You answer questions.", "You are a test assistant.", "Answer in one or two sentences.",
]

LEADS = ["Please ", "Can you please ", "Hi, ", "Hello! ", "Hey, ", "Okay, ", "Now ", "So, ", "Thanks! ", "Great. ", "And "]


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

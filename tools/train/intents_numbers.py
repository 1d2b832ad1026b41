"""Sums, counting, spelling and repeating. Each function draws one user line and its answer."""

from facts import ANIMALS, NAMES, OPPOSITES, TRANSLATIONS
from stories import DAYS, MONTHS, upper


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
        return rng.choice(
            [
                f"What is {number_word(a)} {word} {number_word(b)}?",
                f"How much is {number_word(a)} {word} {number_word(b)}?",
            ]
        ), f"{upper(number_word(a))} {word} {number_word(b)} is {number_word(result)}."
    spaced = f"{a} {sign} {b}" if rng.random() < 0.6 else f"{a}{sign}{b}"
    user = rng.choice(
        [f"What is {spaced}?"] * 3
        + [
            f"What's {spaced}?",
            f"How much is {spaced}?",
            f"Calculate {spaced}.",
            f"{spaced} = ?",
            f"{spaced}",
            f"What is {a} {word} {b}?",
            f"Compute {spaced}.",
            f"Please add up {spaced}." if sign == "+" else f"Work out {spaced}.",
        ]
    )
    return user, rng.choice([f"{a} {word} {b} is {result}."] * 3 + [f"{a} {sign} {b} = {result}."])


def counting(rng):
    kind = rng.randrange(8)
    n = rng.randint(3, 12)
    if kind < 2:
        digits = rng.random() < 0.5
        user = rng.choice(
            [
                f"Count to {n}.",
                f"Count to {number_word(n)}.",
                f"Count from one to {number_word(n)}.",
                f"Count from 1 to {n}.",
                f"Can you count to {number_word(n)}?",
            ]
        )
        return user, (", ".join(str(i) if digits else number_word(i) for i in range(1, n + 1)) + ".").capitalize()
    if kind == 2:
        return rng.choice([f"Count down from {n}.", f"Count backwards from {number_word(n)}."]), (
            ", ".join(number_word(i) for i in range(n, 0, -1)) + "."
        ).capitalize()
    if kind == 3:
        m = rng.randint(1, 99)
        return rng.choice(
            [f"What number comes after {m}?", f"Which number follows {m}?"]
        ), f"The number after {m} is {m + 1}."
    if kind == 4:
        return rng.choice(
            ["What are the days of the week?", "Name the days of the week.", "List the days of the week."]
        ), f"The days of the week are {join(DAYS)}."
    if kind == 5:
        return rng.choice(
            ["What are the months of the year?", "Name the months.", "List all months."]
        ), f"The months are {join(MONTHS)}."
    if kind == 6:
        i = rng.randrange(7)
        return rng.choice(
            [f"What day comes after {DAYS[i]}?", f"Which day follows {DAYS[i]}?", f"What comes after {DAYS[i]}?"]
        ), f"{DAYS[(i + 1) % 7]} comes after {DAYS[i]}."
    a, b = rng.sample(range(1, 100), 2)
    return rng.choice(
        [f"Which is larger, {a} or {b}?", f"Is {a} or {b} bigger?", f"Which number is greater: {a} or {b}?"]
    ), f"{max(a, b)} is larger than {min(a, b)}."


def spelling(rng):
    pool = [w for row in OPPOSITES for w in row] + [row[0] for row in ANIMALS]
    word = rng.choice(pool)
    kind = rng.randrange(3)
    if kind == 0:
        return rng.choice(
            [f"How do you spell {word}?", f"Spell {word}.", f"Spell the word {word}."]
        ), f"{upper(word)} is spelled {'-'.join(word.upper())}."
    if kind == 1:
        return rng.choice(
            [f"Which letter does {word} begin with?", f"What is the first letter of {word}?"]
        ), f"The word {word} begins with the letter {word[0].upper()}."
    return rng.choice([f"Say {word} twice.", f"Repeat {word} two times."]), f"{upper(word)}, {word}."


def repeat(rng):
    word = rng.choice(
        NAMES + [w for row in OPPOSITES for w in row] + [row[1] for row in ANIMALS] + [row[0] for row in TRANSLATIONS]
    )
    sentence = rng.choice(
        [
            f"{word} is here",
            f"I like {word}",
            f"the {rng.choice(ANIMALS)[0]} is asleep",
            f"today is {rng.choice(DAYS)}",
            "hello world",
            f"I saw {rng.randint(2, 9)} {rng.choice(ANIMALS)[1]}",
        ]
    )
    text = rng.choice([word, sentence])
    return rng.choice(
        [f"Say {text}.", f"Say: {text}", f"Repeat after me: {text}", f"Please repeat: {text}", f'Just say "{text}".']
    ), upper(text) + "."

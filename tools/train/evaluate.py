"""Asks an exported model questions from the dialogue grammar and counts what it gets right.

    python3 evaluate.py MODEL.gguf

The questions are drawn with a seed that training did not use; their facts are those of facts.py. An answer counts when
it contains the last word of the expected one. Needs the package llama-cpp-python.
"""

import random
import sys

import intents_facts as facts
import intents_numbers as numbers
from llama_cpp import Llama

SUBJECTS = [
    facts.capital_of,
    facts.animal,
    facts.definition,
    facts.machinery,
    facts.question,
    facts.opposite,
    facts.translation,
    facts.colour,
    numbers.arithmetic,
]
OPEN = [
    "Hello",
    "Tell me a story.",
    "What is Rust?",
    "Why do cats purr?",
    "Write a poem about winter.",
    "xyzzy foo bar",
    "Explain the theory of relativity",
    "What should I cook for dinner?",
    "Name five animals",
    "who are you",
]
ASKED = 15


def ask(model, prompt, **sampling):
    reply = model.create_chat_completion([{"role": "user", "content": prompt}], max_tokens=300, **sampling)
    choice = reply["choices"][0]
    return choice["message"]["content"], choice["finish_reason"]


def main():
    model = Llama(sys.argv[1], n_ctx=1024, n_threads=2, verbose=False)
    rng = random.Random(99)
    for subject in SUBJECTS:
        right = 0
        for _ in range(ASKED):
            question, expected = subject(rng)
            right += expected.rstrip(".").split()[-1] in ask(model, question, temperature=0)[0]
        print(f"{subject.__name__}: {right} of {ASKED}")
    ended = [ask(model, prompt, temperature=1.0, seed=seed)[1] == "stop" for prompt in OPEN for seed in (0, 1)]
    print(f"at temperature 1, {sum(ended)} of {len(ended)} answers ended by themselves")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Talks to a running Laminar server with the official `openai` client.

Needs only `pip install openai`. Prints one line per check and exits with 1 if any failed.

    python tools/clients/openai_smoke.py http://127.0.0.1:8080/v1
"""

import argparse
import sys
import traceback

import openai

MESSAGES = [{"role": "user", "content": "Hello! Who are you?"}]


def models(client, model):
    listed = [card.id for card in client.models.list()]
    assert model in listed, f"{model} is not among {listed}"
    assert client.models.retrieve(model).id == model


def chat(client, model):
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=16, temperature=0
    )
    assert answer.object == "chat.completion", answer.object
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content is not None
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 16, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def chat_stream(client, model):
    whole = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=16, temperature=0
    )
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=MESSAGES,
            max_tokens=16,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *deltas, last = chunks
    assert deltas[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in deltas)
    assert text == whole.choices[0].message.content, (text, whole)
    ends = [c.choices[0].finish_reason for c in deltas if c.choices[0].finish_reason]
    assert ends == [whole.choices[0].finish_reason], ends
    assert last.choices == [] and last.usage == whole.usage, (last, whole.usage)
    assert all(chunk.usage is None for chunk in deltas)


def chat_choices(client, model):
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=8, n=2, seed=7, temperature=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1]


def chat_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model,
        messages=MESSAGES,
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )
    for entry in answer.choices[0].logprobs.content:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 2, entry
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob


def completion(client, model):
    answer = client.completions.create(
        model=model, prompt=["Once upon a time", "The"], max_tokens=8, logprobs=1
    )
    assert answer.object == "text_completion"
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        scores = choice.logprobs
        assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.text_offset)


def completion_stream(client, model):
    options = dict(model=model, prompt="Once upon a time", max_tokens=8, temperature=0)
    whole = client.completions.create(**options)
    chunks = client.completions.create(stream=True, **options)
    text = "".join(chunk.choices[0].text for chunk in chunks)
    assert text == whole.choices[0].text, (text, whole)


def stop_strings(client, model):
    options = dict(model=model, messages=MESSAGES, max_tokens=24, temperature=0)
    text = client.chat.completions.create(**options).choices[0].message.content
    stop = text[len(text) // 2 :][:3]
    if not stop:
        return
    answer = client.chat.completions.create(stop=[stop], **options).choices[0]
    assert stop not in answer.message.content, (stop, answer)
    assert answer.message.content == text[: text.index(stop)], (stop, text, answer)
    assert answer.finish_reason == "stop", answer


def wrong_model(client, model):
    try:
        client.chat.completions.create(model=model + "-none", messages=MESSAGES)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model was accepted")


def wrong_field(client, model):
    try:
        client.chat.completions.create(
            model=model, messages=MESSAGES, temperature=9, stream=True
        )
    except openai.BadRequestError as error:
        assert error.param == "temperature", error
    else:
        raise AssertionError("temperature 9 was accepted")


CHECKS = [
    models,
    chat,
    chat_stream,
    chat_choices,
    chat_logprobs,
    completion,
    completion_stream,
    stop_strings,
    wrong_model,
    wrong_field,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_url", nargs="?", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--model", help="model name; the first one listed by default")
    parser.add_argument("--timeout", type=float, default=120)
    args = parser.parse_args()
    client = openai.OpenAI(
        base_url=args.base_url, api_key="none", timeout=args.timeout, max_retries=0
    )
    model = args.model or next(iter(client.models.list())).id
    failed = 0
    for check in CHECKS:
        try:
            check(client, model)
            print(f"ok      {check.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED  {check.__name__}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed against {model}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

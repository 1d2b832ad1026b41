"""The official openai client for Python."""

import json

import openai
from checks import PARAMETERS, QUESTION, SCHEMA, check_arguments, check_schema, run

FUNCTION = {"name": "weather", "strict": True, "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]


def client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)


def chat_and_stream(url, model):
    options = dict(model=model, messages=QUESTION, max_tokens=16, temperature=0)
    whole = client(url).chat.completions.create(**options)
    chunks = client(url).chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **options
    )
    *deltas, last = list(chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in deltas)
    assert text == whole.choices[0].message.content, (text, whole)
    # What the prefix cache held is not the same the second time.
    assert last.usage.total_tokens == whole.usage.total_tokens, (last.usage, whole.usage)


def tools_round_trip(url, model):
    create = client(url).chat.completions.create
    options = dict(model=model, tools=TOOLS, max_tokens=400)
    answer = create(messages=QUESTION, tool_choice="required", parallel_tool_calls=False, **options)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls", answer
    check_arguments(json.loads(message.tool_calls[0].function.arguments))
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    history = [*QUESTION, message.model_dump(exclude_none=True), result]
    after = create(messages=history, tool_choice="none", **{**options, "max_tokens": 8})
    assert after.choices[0].message.content is not None and not after.choices[0].message.tool_calls


def tools_streamed(url, model):
    named = {"type": "function", "function": {"name": "weather"}}
    with client(url).chat.completions.stream(
        model=model, messages=QUESTION, tools=TOOLS, tool_choice=named, max_tokens=400
    ) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls", choice
    check_arguments(json.loads(choice.message.tool_calls[0].function.arguments))


def json_schema(url, model):
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}
    answer = client(url).chat.completions.create(
        model=model, messages=QUESTION, response_format=form, max_tokens=400
    )
    check_schema(answer.choices[0].message.content)


def embeddings(url, model):
    answer = client(url).embeddings.create(model=model, input=["one", "two"])
    first, second = (item.embedding for item in answer.data)
    assert len(first) == len(second) > 8 and abs(sum(x * x for x in first) - 1) < 1e-3
    floats = client(url).embeddings.create(model=model, input="one", encoding_format="float")
    assert all(abs(a - b) < 1e-6 for a, b in zip(floats.data[0].embedding, first, strict=True))


def responses(url, model):
    create = client(url).responses.create
    first = create(model=model, input="Hello", max_output_tokens=16, temperature=0)
    assert first.object == "response" and first.output_text is not None, first
    second = create(
        model=model, input="And?", previous_response_id=first.id, max_output_tokens=16, temperature=0
    )
    assert second.usage.input_tokens > first.usage.input_tokens, (first.usage, second.usage)
    function = {"type": "function", **FUNCTION}
    with client(url).responses.stream(
        model=model, input="Ulm?", tools=[function], tool_choice="required", parallel_tool_calls=False
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    check_arguments(json.loads(final.output[-1].arguments))
    form = {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}}
    check_schema(create(model=model, input="Ulm?", text=form, max_output_tokens=400).output_text)


def errors(url, model):
    for kind, options in [
        (openai.NotFoundError, dict(model=model + "-none")),
        (openai.BadRequestError, dict(model=model, temperature=9, stream=True)),
        (openai.BadRequestError, dict(model=model, messages=[{"role": "king", "content": "x"}])),
    ]:
        try:
            client(url).chat.completions.create(**{"messages": QUESTION, **options})
        except kind as error:
            assert error.type == "invalid_request_error", error
        else:
            raise AssertionError(f"accepted: {options}")


run([chat_and_stream, tools_round_trip, tools_streamed, json_schema, embeddings, responses, errors])

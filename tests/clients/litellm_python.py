"""litellm with its provider for servers of this kind."""

import json

import litellm
from checks import PARAMETERS, QUESTION, SCHEMA, check_arguments, check_schema, run

litellm.suppress_debug_info = True


def options(url, model, **more):
    return dict(model="openai/" + model, api_base=url + "/v1", api_key="none", num_retries=0, **more)


def chat_and_stream(url, model):
    asked = options(url, model, messages=QUESTION, temperature=0, max_tokens=16)
    whole = litellm.completion(**asked)
    chunks = litellm.completion(stream=True, **asked)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content, (text, whole)


def tools_round_trip(url, model):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
    named = {"type": "function", "function": {"name": "weather"}}
    asked = options(url, model, tools=tools, max_tokens=400)
    answer = litellm.completion(messages=QUESTION, tool_choice=named, **asked)
    assert answer.choices[0].finish_reason == "tool_calls", answer
    call = answer.choices[0].message.tool_calls[0]
    check_arguments(json.loads(call.function.arguments))
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    history = [*QUESTION, answer.choices[0].message.model_dump(), result]
    after = litellm.completion(messages=history, tool_choice="none", **{**asked, "max_tokens": 8})
    assert after.choices[0].message.content is not None


def json_schema(url, model):
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}
    answer = litellm.completion(**options(url, model, messages=QUESTION, response_format=form, max_tokens=400))
    check_schema(answer.choices[0].message.content)


def embeddings(url, model):
    answer = litellm.embedding(**options(url, model, input=["one", "two"], encoding_format="float"))
    assert len(answer.data) == 2 and len(answer.data[0]["embedding"]) > 8


def errors(url, model):
    try:
        litellm.completion(**options(url, model + "-none", messages=QUESTION))
    except litellm.NotFoundError:
        return
    raise AssertionError("an unknown model was accepted")


run([chat_and_stream, tools_round_trip, json_schema, embeddings, errors])

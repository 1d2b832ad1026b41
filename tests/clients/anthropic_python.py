"""The official anthropic client for Python."""

import anthropic
from checks import PARAMETERS, QUESTION, check_arguments, run

TOOLS = [{"name": "weather", "description": "Tells the weather.", "input_schema": PARAMETERS}]


def client(url):
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def chat_and_stream(url, model):
    # Newer versions of the client know no temperature.
    options = dict(model=model, messages=QUESTION, system="Be brief.", max_tokens=16, extra_body={"temperature": 0})
    whole = client(url).messages.create(**options)
    assert whole.type == "message" and whole.stop_reason in ("end_turn", "max_tokens"), whole
    with client(url).messages.stream(**options) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "".join(block.text for block in whole.content), (text, whole)
    assert final.stop_reason == whole.stop_reason, final
    assert final.usage.output_tokens == whole.usage.output_tokens, final


def tools_round_trip(url, model):
    create = client(url).messages.create
    choice = {"type": "tool", "name": "weather"}
    options = dict(model=model, tools=TOOLS, max_tokens=400)
    answer = create(messages=QUESTION, tool_choice=choice, **options)
    assert answer.stop_reason == "tool_use", answer
    call = answer.content[-1]
    check_arguments(call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history = [
        *QUESTION,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    after = create(messages=history, tool_choice={"type": "none"}, **{**options, "max_tokens": 8})
    assert all(block.type == "text" for block in after.content), after


def tools_streamed(url, model):
    with client(url).messages.stream(
        model=model, messages=QUESTION, tools=TOOLS, tool_choice={"type": "tool", "name": "weather"}, max_tokens=400
    ) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use", final
    check_arguments(final.content[-1].input)


def counting(url, model):
    counted = client(url).messages.count_tokens(model=model, messages=QUESTION)
    answer = client(url).messages.create(model=model, messages=QUESTION, max_tokens=1)
    usage = answer.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0), (counted, usage)


def errors(url, model):
    for kind, options in [
        (anthropic.NotFoundError, dict(model=model + "-none", max_tokens=5)),
        (anthropic.BadRequestError, dict(model=model, max_tokens=0)),
    ]:
        try:
            client(url).messages.create(messages=QUESTION, **options)
        except kind as error:
            assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        else:
            raise AssertionError(f"accepted: {options}")


run([chat_and_stream, tools_round_trip, tools_streamed, counting, errors])

"""langchain-openai: a chat model, tools, structured output, embeddings."""

import openai
from checks import PARAMETERS, SCHEMA, check_arguments, run
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
QUESTION = HumanMessage("What is the weather in Ulm?")


def model_of(url, model, **options):
    return ChatOpenAI(base_url=url + "/v1", api_key="none", model=model, max_retries=0, **options)


def chat_and_stream(url, model):
    chat = model_of(url, model, temperature=0, max_tokens=16)
    whole = chat.invoke([QUESTION])
    text = "".join(chunk.content for chunk in chat.stream([QUESTION]))
    assert text == whole.content, (text, whole)


def tools_round_trip(url, model):
    chat = model_of(url, model, max_tokens=400)
    asked = chat.bind_tools([WEATHER], tool_choice="weather").invoke([QUESTION])
    check_arguments(asked.tool_calls[0]["args"])
    result = ToolMessage("sunny", tool_call_id=asked.tool_calls[0]["id"])
    after = model_of(url, model, max_tokens=8).invoke([QUESTION, asked, result])
    assert isinstance(after.content, str) and not after.tool_calls, after


def json_schema(url, model):
    schema = {"title": "answer", **SCHEMA}
    chat = model_of(url, model, max_tokens=400).with_structured_output(schema, method="json_schema", strict=True)
    value = chat.invoke([QUESTION])
    assert value["mood"] in ("good", "bad") and len(value["points"]) <= 3, value


def embeddings(url, model):
    embedder = OpenAIEmbeddings(
        base_url=url + "/v1", api_key="none", model=model, check_embedding_ctx_length=False
    )
    first, second = embedder.embed_documents(["one", "two"])
    assert len(first) == len(second) > 8 and first != second


def errors(url, model):
    try:
        model_of(url, model + "-none").invoke([QUESTION])
    except openai.NotFoundError:
        return
    raise AssertionError("an unknown model was accepted")


run([chat_and_stream, tools_round_trip, json_schema, embeddings, errors])

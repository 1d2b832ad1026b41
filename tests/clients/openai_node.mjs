// The official openai client for Node.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { checkArguments, parameters, question, run, servedModel, url } from "./shared.mjs";

const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
const model = await servedModel();

async function chatAndStream() {
  const options = { model, messages: question, max_tokens: 16, temperature: 0 };
  const whole = await client.chat.completions.create(options);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...options, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(text, whole.choices[0].message.content);
}

async function toolsRoundTrip() {
  const tools = [{ type: "function", function: { name: "weather", strict: true, parameters } }];
  const options = { model, tools, max_tokens: 400 };
  const stream = client.chat.completions.stream({
    ...options,
    messages: question,
    tool_choice: { type: "function", function: { name: "weather" } },
  });
  const choice = (await stream.finalChatCompletion()).choices[0];
  assert.equal(choice.finish_reason, "tool_calls");
  const call = choice.message.tool_calls[0];
  checkArguments(JSON.parse(call.function.arguments));
  const { parsed, ...message } = choice.message;
  const history = [...question, message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
  const after = await client.chat.completions.create({ ...options, messages: history, tool_choice: "none", max_tokens: 8 });
  assert.equal(typeof after.choices[0].message.content, "string");
}

async function jsonSchema() {
  const schema = { name: "a", strict: true, schema: parameters };
  const answer = await client.chat.completions.create({
    model,
    messages: question,
    max_tokens: 400,
    response_format: { type: "json_schema", json_schema: schema },
  });
  checkArguments(JSON.parse(answer.choices[0].message.content));
}

async function embeddings() {
  // This client asks for base64 by itself.
  const coded = await client.embeddings.create({ model, input: "one" });
  const plain = await client.embeddings.create({ model, input: "one", encoding_format: "float" });
  assert.equal(coded.data[0].embedding.length, plain.data[0].embedding.length);
  coded.data[0].embedding.forEach((value, at) => assert.ok(Math.abs(value - plain.data[0].embedding[at]) < 1e-6));
}

async function responses() {
  const stream = await client.responses.create({ model, input: "Hello", max_output_tokens: 16, stream: true });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  assert.equal(kinds[0], "response.created");
  assert.match(kinds.at(-1), /^response\.(completed|incomplete)$/);
}

async function errors() {
  const wrong = client.chat.completions.create({ model: model + "-none", messages: question });
  await assert.rejects(wrong, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
}

await run([chatAndStream, toolsRoundTrip, jsonSchema, embeddings, responses, errors]);

// Vercel's ai package with its provider for servers of this kind.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { checkArguments, parameters, run, servedModel, url } from "./shared.mjs";

const provider = createOpenAICompatible({ name: "laminar", baseURL: url + "/v1", apiKey: "none" });
const name = await servedModel();
const model = provider(name);
const prompt = "What is the weather in Ulm?";

async function chatAndStream() {
  const options = { model, prompt, temperature: 0, maxOutputTokens: 16, maxRetries: 0 };
  const whole = await generateText(options);
  const streamed = await streamText(options);
  let text = "";
  for await (const piece of streamed.textStream) text += piece;
  assert.equal(text, whole.text);
  assert.ok(whole.usage.inputTokens > 0);
}

async function toolsRoundTrip() {
  const seen = [];
  const weather = tool({
    description: "Tells the weather.",
    inputSchema: jsonSchema(parameters),
    execute: async (input) => {
      seen.push(input);
      return "sunny";
    },
  });
  const answer = await generateText({
    model,
    prompt,
    tools: { weather },
    toolChoice: "required",
    maxOutputTokens: 400,
    maxRetries: 0,
    stopWhen: stepCountIs(1),
  });
  assert.equal(answer.finishReason, "tool-calls");
  assert.ok(seen.length >= 1);
  seen.forEach(checkArguments);
}

async function embeddings() {
  const { embedding } = await embed({ model: provider.embeddingModel(name), value: "one", maxRetries: 0 });
  assert.ok(embedding.length > 8);
}

async function errors() {
  const wrong = generateText({ model: provider(name + "-none"), prompt, maxRetries: 0 });
  await assert.rejects(wrong, (error) => error.statusCode === 404);
}

await run([chatAndStream, toolsRoundTrip, embeddings, errors]);

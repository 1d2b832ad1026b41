// What the scripts for Node share.

import assert from "node:assert/strict";

export const url = process.argv[2].replace(/\/$/, "");
export const question = [{ role: "user", content: "What is the weather in Ulm?" }];

export const parameters = {
  type: "object",
  properties: {
    city: { type: "string", maxLength: 12 },
    days: { type: "integer", minimum: 1, maximum: 9 },
  },
  required: ["city", "days"],
  additionalProperties: false,
};

export async function servedModel() {
  const answer = await fetch(url + "/v1/models");
  return (await answer.json()).data[0].id;
}

export function checkArguments(value) {
  assert.deepEqual(Object.keys(value).sort(), ["city", "days"]);
  assert.ok([...value.city].length <= 12 && value.days >= 1 && value.days <= 9, JSON.stringify(value));
}

export async function run(checks) {
  for (const check of checks) {
    try {
      await check();
    } catch (error) {
      console.log(`in ${check.name}:`);
      throw error;
    }
  }
  console.log(`${checks.length} checks`);
}

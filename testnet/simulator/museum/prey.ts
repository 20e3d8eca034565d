/**
 * The hunting process of a unit: `node [--import hook.ts] prey.ts UNIT FROM COUNT`. Tries seeds until one is broken;
 * the last line is the finding as JSON, or `null`.
 */

import { present } from "../../../crypto/base/assert.ts";
import { Broken } from "./property.ts";
import { unitOf } from "./units.ts";

const [name, from, count] = process.argv.slice(2);
const unit = await unitOf(present(name, "unit"));
const first = Number(from);

for (let seed = first; seed < first + Number(count); seed += 1) {
  try {
    await unit(seed);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const property = error instanceof Broken ? error.property : propertyOf(error, message);
    process.stdout.write(`${JSON.stringify({ seed, property, message: message.slice(0, 500) })}\n`);
    process.exit();
  }
}
process.stdout.write("null\n");

/** What the code itself asserted, or threw, without the numbers of this seed. */
function propertyOf(error: unknown, message: string): string {
  const words = message.replace(/^seed \d+(, at [\d.]+ ms)?: /, "").replace(/\b(0x)?[0-9a-f]{8,}\b|\d+/g, "#");
  return `${error instanceof Error ? error.name : "thrown"}: ${words.slice(0, 120)}`;
}

/**
 * `npm run -s mutate-proofs -- --count N [--seed S] [--receipts] [--json]`: mutates proof files N times and asks both
 * verifiers, or with `--receipts` those of record logs (C2SP tlog proofs, COSE receipts) and asks theirs. Progress goes to standard error; with `--json` the last line of standard output is `{seed, count, refused, acceptedTrue,
 * acceptedFalse, disagreed, seconds, failures}`. Exits with 1 when a forgery was accepted or the verifiers differed.
 */

import { toHex } from "../../crypto/base/bytes.ts";
import { Random } from "../simulator/random.ts";
import { openCorpora } from "./corpus.ts";
import { openLogCorpus, tryOneLog } from "./logs.ts";
import { emptyTally, type Tally, tryOne } from "./mutate.ts";
import { readOptions } from "../options.ts";

const USAGE = "npm run -s mutate-proofs -- --count N [--seed S] [--receipts] [--json]\n";
const PROGRESS_EVERY = 10_000;

async function main(): Promise<number> {
  const { values } = readOptions(USAGE, {
    count: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    receipts: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  });
  const count = Number(values.count);
  if (!Number.isInteger(count) || count < 1) {
    process.stderr.write(USAGE);
    return 2;
  }
  const startMs = performance.now();
  const tryNext = values.receipts ? triesOfReceipts() : await triesOfFiles();
  const random = new Random(`mutate-proofs ${values.seed}`);
  const tally = emptyTally();
  while (tally.mutated < count) {
    const before = tally.mutated;
    await tryNext(random, tally);
    if (tally.mutated === before || tally.mutated % PROGRESS_EVERY !== 0) continue;
    // All of it, so that a run that is cut short has said what it found.
    const { mutated, acceptedTrue: others, acceptedFalse: forgeries, disagreed: differing } = tally;
    process.stderr.write(`${mutated} of ${count}: ${others} other truths, ${forgeries} forgeries, ${differing} disagreements\n`);
  }
  const { refused, acceptedTrue, acceptedFalse, disagreed, failures } = tally;
  const seconds = Math.round((performance.now() - startMs) / 100) / 10;
  const shown = failures.map(({ file, what, bytes }) => ({ file, what, hex: toHex(bytes) }));
  const report = { seed: values.seed, count, refused, acceptedTrue, acceptedFalse, disagreed, seconds, failures: shown };
  process.stdout.write(
    values.json
      ? `${JSON.stringify(report)}\n`
      : `${count} mutated files in ${seconds} s: ${refused} refused, ${acceptedTrue} accepted that say another true thing, ` +
          `${acceptedFalse} forgeries accepted, ${disagreed} disagreements\n${shown.map((one) => `${JSON.stringify(one)}\n`).join("")}`,
  );
  return acceptedFalse + disagreed === 0 ? 0 : 1;
}

type Try = (random: Random, tally: Tally) => Promise<void> | void;

async function triesOfFiles(): Promise<Try> {
  const corpora = await openCorpora();
  return async (random, tally) => await tryOne(corpora, random, tally);
}

function triesOfReceipts(): Try {
  const corpus = openLogCorpus();
  return (random, tally) => tryOneLog(corpus, random, tally);
}

// A refusal is thrown for most files, and nobody looks at where.
Error.stackTraceLimit = 0;
process.exitCode = await main();

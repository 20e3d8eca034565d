/** Two verifiers of proof files, which share no code: they agree on honest files, and on damaged ones. */

import { readFileSync } from "node:fs";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { verifyProofFile } from "../../node/light/prooffile.ts";
import { Random } from "../simulator/random.ts";
import { type Corpus, openCorpora } from "./corpus.ts";
import { openLogCorpus, tryOneLog, verifyLogFile } from "./logs.ts";
import { emptyTally, sayTheSame, tryOne } from "./mutate.ts";
import { secondVerdict } from "./second.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const MUTATIONS = 1_000;
const LINES_MAX = 300;
const SOURCE = readFileSync(new URL("verify.mjs", import.meta.url), "utf8");
const corpora = await openCorpora();
const named = (name: string): Corpus =>
  present(
    corpora.find((corpus) => corpus.name === name),
    name,
  );

t.test("both verifiers accept every honest file and say the same of it, which is true", async (t) => {
  for (const corpus of corpora) {
    const { network, networkJson } = corpus;
    for (const { name, bytes } of corpus.files) {
      const first = await verifyProofFile(bytes, network);
      const second = secondVerdict(bytes, networkJson);
      if (!first.ok || !second.ok) t.fail(`${name}: ${first.ok || first.error.code}, ${second.ok || second.why}`);
      else t.ok(corpus.isTrue(first.value) && sayTheSame(first.value, second.proven), name);
    }
  }
});

t.test("an old height is proven from the newest certificate, and a range of it is what it was", async (t) => {
  const { network, files } = named("ed25519");
  const values = async (name: string): Promise<unknown[]> => {
    const proven = await verifyProofFile(
      present(
        files.find((file) => file.name === name),
        name,
      ).bytes,
      network,
    );
    if (!proven.ok || proven.value.statement.kind !== "range") throw new Error(name);
    t.equal(proven.value.certifiedHeight, 6n);
    return proven.value.statement.rows.map(({ key, value }) => [key[0], value[1] ?? value[0]]);
  };
  t.same(await values("ed25519 range at 4"), [
    [10, 10],
    [20, 20],
    [30, 30],
    [40, 40],
    [50, 50],
  ]);
  t.same(await values("ed25519 range at 6"), [
    [10, 10],
    [20, 20],
    [30, 31],
    [40, 40],
  ]);
});

t.test("neither accepts a file of another network, and both say so", async (t) => {
  const other = named("majority");
  for (const { name, bytes } of named("ed25519").files) {
    const first = await verifyProofFile(bytes, other.network);
    const second = secondVerdict(bytes, other.networkJson);
    t.same([first.ok, second.ok], [false, false], name);
  }
});

t.test(`of ${MUTATIONS} mutated files none is accepted that says what is not so, and the verifiers agree on each`, async (t) => {
  const seed = `${drawnSeed()}`;
  t.comment(`seed ${seed}; npm run -s mutate-proofs -- --count ${MUTATIONS} --seed ${seed}`);
  const random = new Random(`mutate-proofs ${seed}`);
  const tally = emptyTally();
  while (tally.mutated < MUTATIONS) await tryOne(corpora, random, tally);
  t.same(
    tally.failures.map(({ file, what }) => `${file}: ${what}`),
    [],
  );
  t.match(tally, { acceptedFalse: 0, disagreed: 0 });
  t.ok(tally.refused > MUTATIONS * 0.95, `${tally.refused} refused`);
});

t.test(`of ${MUTATIONS} mutated receipts of record logs none is accepted that says what is not so`, (t) => {
  const corpus = openLogCorpus();
  for (const { name, format, bytes } of corpus.files) {
    const said = verifyLogFile(corpus, format, bytes);
    t.ok(said.ok && corpus.isTrue(said.value), `${format} ${name}`);
  }
  const seed = `${drawnSeed()}`;
  t.comment(`seed ${seed}; npm run -s mutate-proofs -- --receipts --count ${MUTATIONS} --seed ${seed}`);
  const random = new Random(`mutate-proofs ${seed}`);
  const tally = emptyTally();
  while (tally.mutated < MUTATIONS) tryOneLog(corpus, random, tally);
  t.match(tally, { acceptedFalse: 0, failures: [] });
  t.ok(tally.refused > MUTATIONS * 0.9, `${tally.refused} refused`);
  // The measure is seen to fail: a truth that knows nothing calls what is accepted and true a forgery.
  const blind = { ...corpus, isTrue: () => false };
  const found = emptyTally();
  const drawn = new Random("blind");
  while (found.acceptedFalse === 0 && found.mutated < 20_000) tryOneLog(blind, drawn, found);
  t.ok(found.acceptedFalse > 0, `after ${found.mutated}`);
  t.end();
});

t.test("a forgery that is let through is counted as one", async (t) => {
  // The measure is seen to fail: a corpus that knows nothing finds every accepted mutation false.
  const corpus = named("one");
  const absence = corpus.files.filter(({ name }) => name.includes("absence"));
  const blind = { ...corpus, files: absence, isTrue: () => false };
  const tally = emptyTally();
  const random = new Random("blind");
  while (tally.acceptedFalse === 0 && tally.mutated < 20_000) await tryOne([blind], random, tally);
  t.ok(tally.acceptedFalse > 0, `after ${tally.mutated}`);
});

t.test(`the second verifier has at most ${LINES_MAX} lines and imports hashes and signatures alone`, async (t) => {
  t.ok(SOURCE.trimEnd().split("\n").length <= LINES_MAX);
  const imported = [...SOURCE.matchAll(/\bfrom "([^"]+)"/g)].map(([, name]) => name);
  t.same(imported, [
    "@noble/curves/ed25519.js",
    "@noble/hashes/blake3.js",
    "@noble/hashes/utils.js",
    "@noble/post-quantum/ml-dsa.js",
  ]);
  t.notMatch(SOURCE, /import\(|require\(/);
});

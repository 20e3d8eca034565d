/** Notes, checkpoints and cosignatures: a public example of the format, and every nearest thing that is none. */

import fc from "fast-check";
import t from "tap";
import { present } from "../../crypto/base/assert.ts";
import { utf8 } from "../../crypto/base/bytes.ts";
import type { Result } from "../../crypto/base/result.ts";
import { checkProperty } from "../../crypto/testing/property.ts";
import { networkHash } from "../../chain/block/genesis.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import {
  cosignCheckpoint,
  encodeCheckpoint,
  encodeNote,
  encodeNoteKey,
  historyCheckpoint,
  NOTE_SIZE_BYTES_MAX,
  type NoteKey,
  parseCheckpoint,
  parseNote,
  parseNoteKey,
  signNote,
  verifyNote,
} from "./checkpoint.ts";
import { HeaderChain } from "./testing/chain.ts";

function value<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(result.error.code);
  return result.value;
}

function codeOf(result: Result<unknown>): string {
  return result.ok ? "ok" : result.error.code;
}

const CHAIN = new HeaderChain(() => [0, 1, 2, 3]);
const TEXT = encodeCheckpoint(historyCheckpoint(networkHash(CHAIN.network), CHAIN.header(9n)));
const PAIR = keyPairAt(7);
const LOG: NoteKey = { name: "log.example/a", algorithm: "ed25519", key: PAIR.publicKey };
const WITNESS: NoteKey = { name: "witness.example/w1", algorithm: "cosignature", key: PAIR.publicKey };
const TIME_S = 1_700_000_000n;
const NOTE = encodeNote({
  text: TEXT,
  signatures: [signNote(TEXT, LOG.name, PAIR), cosignCheckpoint(TEXT, WITNESS.name, PAIR, TIME_S)],
});

// The example of the documentation of golang.org/x/mod/sumdb/note.
t.test("the published example of a signed note holds under its published key", async (t) => {
  const note = value(
    parseNote(
      utf8(
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n" +
          "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
      ),
    ),
  );
  const key = value(parseNoteKey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"));
  t.equal(codeOf(verifyNote(note, key)), "ok");
  t.equal(codeOf(verifyNote({ ...note, text: note.text.replace("think", "thank") }, key)), "note_signature");
  t.equal(codeOf(verifyNote(note, { ...key, name: "EnochRoot" })), "note_unsigned");
});

t.test("a checkpoint says origin, size and root of all headers before the one that commits to them", async (t) => {
  const checkpoint = value(parseCheckpoint(TEXT));
  t.match(checkpoint, { size: 8n });
  t.match(checkpoint.origin, /^pyralog\/pyra-test\/[0-9a-f]{64}\/history$/);
  t.same(checkpoint.root, CHAIN.header(9n).historyRoot);
  const [origin, size, root] = TEXT.split("\n") as [string, string, string];
  t.equal(codeOf(parseCheckpoint(`${TEXT}extension\n`)), "ok", "the format allows lines beyond the third");
  for (const text of [
    `${origin}\n${size}\n${root}`,
    `${origin}\n0${size}\n${root}\n`,
    `${origin}\n-1\n${root}\n`,
    `\n${size}\n${root}\n`,
    `${origin}\n${size}\n${root.slice(0, -1)}\n`,
    `${origin}\n${size}\n${root.slice(4)}\n`,
    `${origin}\n99999999999999999999\n${root}\n`,
    `${TEXT}\n`,
    "",
  ])
    t.equal(codeOf(parseCheckpoint(text)), "checkpoint_malformed", JSON.stringify(text));
});

t.test("a cosignature says when, and is neither a signature of the log nor of another text or time", async (t) => {
  const note = value(parseNote(utf8(NOTE)));
  t.match(verifyNote(note, LOG), { ok: true, value: { timeS: undefined } });
  t.match(verifyNote(note, WITNESS), { ok: true, value: { timeS: TIME_S } });
  t.equal(
    codeOf(verifyNote(note, { ...WITNESS, algorithm: "ed25519" })),
    "note_unsigned",
    "a key of another algorithm is another key",
  );
  const other = encodeCheckpoint(historyCheckpoint(networkHash(CHAIN.network), CHAIN.header(10n)));
  t.equal(codeOf(verifyNote({ ...note, text: other }, WITNESS)), "note_signature");
  const [log, witness] = note.signatures;
  const later = present(witness, "witness").signature.slice();
  later[7] = present(later[7], "byte") ^ 1;
  const moved = { ...note, signatures: [present(log, "log"), { ...present(witness, "witness"), signature: later }] };
  t.equal(codeOf(verifyNote(moved, WITNESS)), "note_signature", "another time was not signed");
});

t.test("keys are read as they are written, with the id that is their own", async (t) => {
  for (const key of [LOG, WITNESS]) t.same(value(parseNoteKey(encodeNoteKey(key))), key);
  const text = encodeNoteKey(WITNESS);
  for (const wrong of [
    text.replace("+", "+0"),
    text.replace("w1", "w2"),
    text.slice(0, -2),
    text.replace("/w1", " w1"),
    "",
    "a+b+c",
  ])
    t.equal(codeOf(parseNoteKey(wrong)), "note_key", wrong);
});

t.test("what is no note is refused, and no changed character leaves both signatures good", async (t) => {
  t.equal(codeOf(parseNote(new Uint8Array(NOTE_SIZE_BYTES_MAX + 1))), "note_size");
  for (const text of [TEXT, NOTE.slice(0, -1), NOTE.replace("\u2014 ", "- "), NOTE.replace("\n\n", "\n"), `\t${NOTE}`, "\n\n"])
    t.equal(codeOf(parseNote(utf8(text))), "note_malformed", JSON.stringify(text.slice(0, 20)));
  const bytes = utf8(NOTE);
  await checkProperty(
    t,
    "changed bytes",
    fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (place, mask) => {
      const changed = bytes.slice();
      changed[place] = present(changed[place], "byte") ^ mask;
      const note = parseNote(changed);
      return !note.ok || !verifyNote(note.value, LOG).ok || !verifyNote(note.value, WITNESS).ok;
    }),
  );
});

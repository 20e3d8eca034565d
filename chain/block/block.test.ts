/** Blocks and their parts: encodings take hostile bytes, limits hold, certificates and evidence prove what they say. */

import fc from "fast-check";
import t from "tap";
import { assert, present } from "../../crypto/base/assert.ts";
import { bytesEqual, toHex, utf8 } from "../../crypto/base/bytes.ts";
import { encodeValue } from "../../crypto/codec/value.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import { ZERO_HASH } from "../../crypto/hash/hash.ts";
import { addressOfKey, addressOfPolicy } from "../../crypto/identity/address.ts";
import { encodeAuthorisation, gatherAuthorisation, multisigPolicy } from "../../crypto/identity/authorisation.ts";
import { SIGNATURE_SIZE_BYTES_MAX } from "../../crypto/sign/key.ts";
import { checkDecoder, checkProperty } from "../../crypto/testing/property.ts";
import {
  assembleBlock,
  encodeBlock,
  encodeHeader,
  encodeResult,
  parseBlock,
  parseHeader,
  parseResult,
  resultsRoot,
  transactionsRoot,
} from "./block.ts";
import { doubleProposalOf, doubleVoteOf, encodeEvidence, parseEvidence, verifyEvidence } from "./evidence.ts";
import { encodeNetworkFile, networkHash, parseNetworkFile } from "./genesis.ts";
import { heightOf } from "./height.ts";
import {
  BLOCK_FRAME_SIZE_BYTES_MAX,
  CALLS_MAX,
  EVIDENCE_MAX,
  ROW_KEY_SIZE_BYTES_MAX,
  TRANSACTION_SIZE_BYTES_MAX,
  VALIDATORS_MAX,
} from "./limits.ts";
import { encodeRecord, parseRecord, RECORD_ENCODING_SIZE_BYTES_MAX, recordSizeBytes } from "./record.ts";
import { Slab, SLAB_SIZE_BYTES } from "./slab.ts";
import {
  blockArbitrary,
  certificateArbitrary,
  evidenceArbitrary,
  headerArbitrary,
  heightArbitrary,
  nameArbitrary,
  proposalArbitrary,
  resultArbitrary,
  transactionArbitrary,
  validatorSetArbitrary,
  voteArbitrary,
} from "./testing/arbitrary.ts";
import {
  certificateOf,
  CHAIN_ID,
  hashAt,
  keyPairAt,
  networkOf,
  powerOf,
  proposalOf,
  quorumOf,
  setOf,
  voteOf,
} from "./testing/fixtures.ts";
import type { Call } from "./call.ts";
import {
  assembleTransaction,
  checkTransactionBody,
  encodeTransactionBody,
  parseTransaction,
  peekTransactionId,
  parseTransactionBody,
  signTransaction,
  type TransactionBody,
  transactionId,
  verifyTransaction,
  verifyTransactionAsync,
} from "./transaction.ts";
import {
  encodeMembers,
  encodePriorities,
  encodeValidators,
  parseMembers,
  parsePriorities,
  parseValidators,
  type ValidatorSet,
} from "./validators.ts";
import {
  encodeCertificate,
  encodeProposal,
  encodeVote,
  parseCertificate,
  parseProposal,
  type QuorumCertificate,
  parseVote,
  proposalSigningBytes,
  verifyCertificate,
  verifyCertificateAsync,
  type Vote,
  voteSigningBytes,
} from "./vote.ts";

const ALICE = keyPairAt(100);
const BOB = addressOfKey(keyPairAt(101).publicKey);

function bodyOf(calls: readonly Call[], over: Partial<TransactionBody> = {}): TransactionBody {
  return {
    chainId: CHAIN_ID,
    sender: addressOfKey(ALICE.publicKey),
    nonce: 0n,
    fee: 1000n,
    expiry: heightOf(100n),
    calls,
    ...over,
  };
}

t.test("every decoder refuses damaged bytes or gives back what they encode", async (t) => {
  await checkDecoder(t, "transaction", {
    valid: transactionArbitrary.map(({ bytes }) => bytes),
    decode: parseTransaction,
    encode: (value) => assembleTransaction(value.body, value.authorisation).bytes,
  });
  await checkDecoder(t, "transaction body", {
    valid: transactionArbitrary.map(({ body }) => encodeTransactionBody(body)),
    decode: parseTransactionBody,
    encode: encodeTransactionBody,
  });
  await checkDecoder(t, "header", { valid: headerArbitrary.map(encodeHeader), decode: parseHeader, encode: encodeHeader });
  await checkDecoder(t, "block", { valid: blockArbitrary.map(encodeBlock), decode: parseBlock, encode: encodeBlock });
  await checkDecoder(t, "vote", { valid: voteArbitrary.map(encodeVote), decode: parseVote, encode: encodeVote });
  await checkDecoder(t, "proposal", {
    valid: proposalArbitrary.map(encodeProposal),
    decode: parseProposal,
    encode: encodeProposal,
  });
  await checkDecoder(t, "certificate", {
    valid: certificateArbitrary.map(encodeCertificate),
    decode: parseCertificate,
    encode: encodeCertificate,
  });
  await checkDecoder(t, "evidence", {
    valid: evidenceArbitrary.map(encodeEvidence),
    decode: parseEvidence,
    encode: encodeEvidence,
  });
  await checkDecoder(t, "result", { valid: resultArbitrary.map(encodeResult), decode: parseResult, encode: encodeResult });
  await checkDecoder(t, "validators", {
    valid: validatorSetArbitrary.map(encodeValidators),
    decode: parseValidators,
    encode: encodeValidators,
  });
  await checkDecoder(t, "members", {
    valid: validatorSetArbitrary.map(encodeMembers),
    decode: parseMembers,
    encode: encodeMembers,
  });
  const members = setOf([3n, 2n, 1n]);
  const priorities = fc.array(fc.bigInt(-9n, 9n), { minLength: 3, maxLength: 3 }).map((list) =>
    encodePriorities({
      ...members,
      validators: members.validators.map((validator, index) => ({ ...validator, priority: present(list[index], "priority") })),
    }),
  );
  await checkDecoder(t, "priorities", {
    valid: priorities,
    decode: (bytes) => parsePriorities(bytes, members),
    encode: encodePriorities,
  });
  const record = fc
    .record({
      stream: nameArbitrary,
      partition: fc.nat(65_535),
      index: fc.bigInt(0n, 1n << 60n),
      height: heightArbitrary,
      timeMs: fc.bigInt(0n, 1n << 45n),
      key: fc.option(fc.uint8Array({ maxLength: 256 }), { nil: undefined }),
      isTombstone: fc.boolean(),
      data: fc.uint8Array(),
      headers: fc.array(fc.record({ name: nameArbitrary, value: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 16 }),
    })
    .map(encodeRecord);
  await checkDecoder(t, "record", { valid: record, decode: parseRecord, encode: encodeRecord });
});

t.test("a damaged network file is refused, or says the same network in the same text", async (t) => {
  const text = encodeNetworkFile(networkOf({ amounts: [5n, 7n] }));
  const damaged = fc
    .tuple(fc.nat(text.length - 1), fc.constantFrom("flip", "cut", "insert", "repeat"), fc.string({ minLength: 1, maxLength: 3 }))
    .map(([at, kind, extra]) => {
      if (kind === "cut") return text.slice(0, at);
      if (kind === "insert") return text.slice(0, at) + extra + text.slice(at);
      return kind === "flip"
        ? text.slice(0, at) + extra + text.slice(at + extra.length)
        : text.slice(0, at) + text.slice(Math.max(0, at - 40));
    });
  await checkProperty(
    t,
    "network file",
    fc.property(damaged, (candidate) => {
      const parsed = parseNetworkFile(candidate);
      return parsed.ok ? encodeNetworkFile(parsed.value) === candidate : parsed.error.code.startsWith("network_");
    }),
    400,
  );
});

t.test("a network file has one text, and its hash does not depend on the bootstrap addresses", (t) => {
  const network = networkOf({ amounts: [5n, 7n, 11n] });
  const text = encodeNetworkFile(network);
  const parsed = parseNetworkFile(text);
  assert(parsed.ok, parsed.ok ? "" : parsed.error.code);
  t.equal(encodeNetworkFile(parsed.value), text);
  t.equal(toHex(networkHash(parsed.value)), toHex(networkHash(network)), "also when the maker listed accounts in another order");
  t.equal(toHex(networkHash({ ...network, bootstrap: [] })), toHex(networkHash(network)));
  t.not(toHex(networkHash({ ...network, chainId: "other" })), toHex(networkHash(network)));
  const codeOf = (candidate: string): string => {
    const result = parseNetworkFile(candidate);
    return result.ok ? "ok" : `${result.error.code} ${result.error.field}`;
  };
  t.equal(codeOf(text.replace('"feeMin": "100"', '"feeMin": "101"')), "network_hash hash", "a changed rule is not this network");
  t.equal(codeOf(text.replace("\n}", ',\n  "extra": 1\n}')), "network_invalid ", "an unknown key");
  t.equal(codeOf(text.replace('"amount": "5"', '"amount": "05"')).split(".")[0], "network_invalid accounts");
  t.equal(codeOf(text.trimEnd()), "network_not_canonical ");
  t.equal(codeOf(text.replace('"validatorDelay": 2', '"validatorDelay": 3')), "network_invalid parameters.validatorDelay");
  t.equal(codeOf("{"), "network_json ");
  t.equal(codeOf("[".repeat(100_000)), "network_json ", "deep nesting does not overflow the stack");
  t.equal(
    codeOf(encodeNetworkFile(networkOf({ powers: [1n, 1n, 1n] }))),
    "network_invalid validators",
    "three validators survive no fault",
  );
  t.equal(
    codeOf(encodeNetworkFile(networkOf({ powers: [1n], parameters: { dev: true } }))),
    "ok",
    "unless it is for development",
  );
  t.equal(codeOf(encodeNetworkFile(networkOf({ amounts: [(1n << 64n) - 1n] }))), "ok", "the largest supply");
  t.equal(codeOf(encodeNetworkFile(networkOf({ amounts: [(1n << 64n) - 1n, 1n] }))), "network_invalid accounts", "one more");
  t.end();
});

t.test("a transaction is what its sender signed, for one network, with an id that a new signature does not change", async (t) => {
  const body = bodyOf([{ kind: "transfer", to: BOB, amount: 5n }]);
  const transaction = signTransaction(body, ALICE);
  const parsed = parseTransaction(transaction.bytes);
  assert(parsed.ok, parsed.ok ? "" : parsed.error.code);
  t.same(parsed.value.body, transaction.body);
  t.equal(toHex(parsed.value.id), toHex(transactionId(encodeTransactionBody(transaction.body))));
  t.ok(verifyTransaction(parsed.value));
  t.ok(await verifyTransactionAsync(parsed.value));
  const other = signTransaction({ ...body, chainId: "pyra-other" }, ALICE);
  t.not(toHex(other.id), toHex(transaction.id));
  t.notOk(
    verifyTransaction({ ...other, authorisation: transaction.authorisation }),
    "a signature for one network is not one for another",
  );
  t.equal(toHex(present(peekTransactionId(transaction.bytes), "id")), toHex(transaction.id));
  t.equal(peekTransactionId(transaction.bytes.subarray(1)), undefined);
  t.equal(peekTransactionId(new Uint8Array([...transaction.bytes, 0])), undefined);
  const stolen = new Writer()
    .array(2)
    .bytes(encodeTransactionBody({ ...body, sender: BOB }))
    .raw(encodeAuthorisation(transaction.authorisation))
    .finish();
  const refused = parseTransaction(stolen);
  t.match(
    refused,
    { ok: false, error: { code: "sender_mismatch", field: "authorisation" } },
    "nobody signs for another's account",
  );
});

t.test("two of three holders move what a multisig address holds, and one of them cannot", (t) => {
  const holders = [keyPairAt(1), keyPairAt(2, "hybrid"), keyPairAt(3)];
  const policy = multisigPolicy(
    2,
    holders.map(({ publicKey }) => publicKey),
  );
  assert(policy.ok, "policy");
  const body = bodyOf([{ kind: "transfer", to: BOB, amount: 5n }], { sender: addressOfPolicy(policy.value) });
  const id = transactionId(encodeTransactionBody(body));
  const gathered = gatherAuthorisation(
    policy.value,
    id,
    holders.slice(0, 2).map((holder) => ({ key: holder.publicKey, signature: holder.sign(id) })),
  );
  assert(gathered.ok, "gathered");
  const parsed = parseTransaction(assembleTransaction(body, gathered.value).bytes);
  assert(parsed.ok, parsed.ok ? "" : parsed.error.code);
  t.ok(verifyTransaction(parsed.value));
  const signature = present(holders[0], "holder").sign(id);
  assert(gathered.value.kind === "multisig", "multisig");
  const twice = gathered.value.signatures.map(({ keyIndex }) => ({ keyIndex, signature }));
  t.notOk(
    verifyTransaction({ ...parsed.value, authorisation: { ...gathered.value, signatures: twice } }),
    "one holder's signature in both places",
  );
  t.end();
});

t.test("each limit of a transaction holds at the limit and names the field one past it", (t) => {
  const put = { kind: "tablePut" as const, namespace: "n", table: "t", key: utf8("k"), value: encodeValue(1) };
  const append = { kind: "logAppend" as const, stream: "s", partition: 0, records: [utf8("r")] };
  const transfer = { kind: "transfer" as const, to: BOB, amount: 1n };
  const text = (size: number): Uint8Array => encodeValue("x".repeat(size - 3));
  const cases: readonly (readonly [
    name: string,
    fits: readonly Call[],
    exceeds: readonly Call[],
    code: string,
    field: string,
  ])[] = [
    ["calls", Array<Call>(CALLS_MAX).fill(transfer), Array<Call>(CALLS_MAX + 1).fill(transfer), "calls_count", "calls"],
    ["no calls", [transfer], [], "calls_count", "calls"],
    ["amount", [transfer], [transfer, { ...transfer, amount: 0n }], "amount_range", "calls[1].amount"],
    [
      "amount above",
      [{ ...transfer, amount: (1n << 64n) - 1n }],
      [{ ...transfer, amount: 1n << 64n }],
      "amount_range",
      "calls[0].amount",
    ],
    ["name", [{ ...put, table: "a".repeat(64) }], [{ ...put, table: "a".repeat(65) }], "name_invalid", "calls[0].table"],
    ["name characters", [{ ...put, namespace: "0.a_b-c" }], [{ ...put, namespace: "A" }], "name_invalid", "calls[0].namespace"],
    ["name with a zero", [{ ...append, stream: "a" }], [{ ...append, stream: "a\0b" }], "name_invalid", "calls[0].stream"],
    [
      "row key",
      [{ ...put, key: new Uint8Array(ROW_KEY_SIZE_BYTES_MAX) }],
      [{ ...put, key: new Uint8Array(ROW_KEY_SIZE_BYTES_MAX + 1) }],
      "row_key_size",
      "calls[0].key",
    ],
    ["empty row key", [put], [{ ...put, key: new Uint8Array(0) }], "row_key_size", "calls[0].key"],
    ["row value", [{ ...put, value: text(65_536) }], [{ ...put, value: text(65_537) }], "row_value_size", "calls[0].value"],
    ["row value form", [put], [{ ...put, value: Uint8Array.of(0x18, 1) }], "row_value_encoding", "calls[0].value"],
    ["row value trailing", [put], [{ ...put, value: Uint8Array.of(1, 1) }], "row_value_encoding", "calls[0].value"],
    [
      "partition",
      [{ ...append, partition: 65_535 }],
      [{ ...append, partition: 65_536 }],
      "partition_range",
      "calls[0].partition",
    ],
    [
      "records",
      [{ ...append, records: Array<Uint8Array>(1024).fill(utf8("r")) }],
      [{ ...append, records: Array<Uint8Array>(1025).fill(utf8("r")) }],
      "records_count",
      "calls[0].records",
    ],
    ["no records", [append], [{ ...append, records: [] }], "records_count", "calls[0].records"],
    [
      "record",
      [{ ...append, records: [new Uint8Array(65_536)] }],
      [{ ...append, records: [new Uint8Array(65_537)] }],
      "record_size",
      "calls[0].records[0]",
    ],
    [
      "power",
      [{ kind: "validatorSet", key: ALICE.publicKey, power: 1n << 56n }],
      [{ kind: "validatorSet", key: ALICE.publicKey, power: (1n << 56n) + 1n }],
      "power_range",
      "calls[0].power",
    ],
  ];
  for (const [name, fits, exceeds, code, field] of cases) {
    t.same(checkTransactionBody(bodyOf(fits)), { ok: true, value: undefined }, `${name}: fits`);
    t.ok(parseTransaction(signTransaction(bodyOf(fits), ALICE).bytes).ok, `${name}: fits on the wire`);
    t.same(checkTransactionBody(bodyOf(exceeds)), { ok: false, error: { code, field } }, `${name}: exceeds`);
  }
  t.match(
    parseTransactionBody(encodeTransactionBody(bodyOf([{ ...put, table: "a".repeat(65) }]))),
    { error: { code: "name_invalid", field: "calls[0].table" } },
    "the wire names the call as well",
  );
  t.match(parseTransaction(new Uint8Array(TRANSACTION_SIZE_BYTES_MAX + 1)), { error: { code: "transaction_size" } });
  t.end();
});

t.test("a block keeps its parts and its hash through the wire, and names a transaction that does not decode", (t) => {
  const set = setOf([1n, 1n, 1n, 1n]);
  const transactions = [0n, 1n].map((nonce) =>
    signTransaction(bodyOf([{ kind: "transfer", to: BOB, amount: 1n }], { nonce }), ALICE),
  );
  const results = [
    { kind: "applied" as const },
    { kind: "failed" as const, code: "balance_insufficient", field: "calls[0].amount" },
  ];
  const block = assembleBlock({
    chainId: CHAIN_ID,
    height: heightOf(6n),
    timeMs: 1n,
    previous: hashAt(1),
    historyRoot: hashAt(2),
    stateRoot: hashAt(3),
    validatorsHash: hashAt(4),
    nextValidatorsHash: hashAt(5),
    proposer: BOB,
    transactions,
    results,
    previousCertificate: certificateOf(set, [0, 1, 2]),
    evidence: [doubleVoteOf(voteOf(1, { blockHash: hashAt(1) }), voteOf(1, { blockHash: hashAt(2) }))],
  });
  const parsed = parseBlock(encodeBlock(block));
  assert(parsed.ok, parsed.ok ? "" : parsed.error.code);
  t.equal(toHex(parsed.value.hash), toHex(block.hash));
  t.equal(toHex(transactionsRoot(parsed.value.transactions)), toHex(block.header.transactionsRoot));
  t.equal(toHex(resultsRoot(results)), toHex(block.header.resultsRoot));
  t.notOk(bytesEqual(block.header.certificateHash, ZERO_HASH));
  const last = present(transactions[1], "transaction");
  const broken = {
    ...block,
    transactions: [present(transactions[0], "transaction"), { ...last, bytes: last.bytes.subarray(1) }],
  };
  const refused = parseBlock(encodeBlock(broken));
  t.match(refused, { ok: false, error: { field: /^transactions\[1\]\./ } });
  t.end();
});

t.test("the largest block without transactions fits the room that every network keeps for it", (t) => {
  const signature = new Uint8Array(SIGNATURE_SIZE_BYTES_MAX);
  const last = { height: heightOf((1n << 63n) - 1n), round: 0x7fff_ffff, blockHash: hashAt(1), validator: BOB, signature };
  const proposal = { ...last, validRound: 0x7fff_fffe };
  const block = assembleBlock({
    chainId: "c".repeat(64),
    height: last.height,
    timeMs: 8_640_000_000_000_000n,
    previous: hashAt(1),
    historyRoot: hashAt(2),
    stateRoot: hashAt(3),
    validatorsHash: hashAt(4),
    nextValidatorsHash: hashAt(5),
    proposer: BOB,
    transactions: [],
    results: [],
    previousCertificate: {
      ...quorumOf(certificateOf(setOf([1n]), [0])),
      ...last,
      signatures: Array.from({ length: VALIDATORS_MAX }, () => ({ validator: BOB, signature })),
    },
    evidence: Array.from({ length: EVIDENCE_MAX }, () => ({
      kind: "doubleProposal" as const,
      first: proposal,
      second: proposal,
    })),
  });
  const sizeBytes = encodeBlock(block).length;
  t.ok(sizeBytes <= BLOCK_FRAME_SIZE_BYTES_MAX, `${sizeBytes} bytes`);
  t.ok(parseBlock(encodeBlock(block)).ok);
  const parse = (blockSizeBytesMax: number): boolean =>
    parseNetworkFile(encodeNetworkFile(networkOf({ parameters: { blockSizeBytesMax, transactionSizeBytesMax: 1024 } }))).ok;
  t.ok(parse(1024 + BLOCK_FRAME_SIZE_BYTES_MAX));
  t.notOk(parse(1023 + BLOCK_FRAME_SIZE_BYTES_MAX), "a network whose proposers could build what it refuses");
  t.end();
});

t.test("copies in a slab are of their own, and hold no more than one buffer", async (t) => {
  const lengths = fc.array(fc.oneof(fc.nat(64), fc.integer({ min: 1000, max: 1100 }), fc.nat(6000)), { maxLength: 40 });
  await checkProperty(
    t,
    "Slab",
    fc.property(lengths, (sizes) => {
      const slab = new Slab();
      const given = sizes.map((size, index) => new Uint8Array(size).fill(index + 1));
      const copies = given.map((bytes) => slab.copy(bytes));
      for (const bytes of given) bytes.fill(0);
      return copies.every(
        (copy, index) =>
          copy.length === sizes[index] &&
          copy.every((byte) => byte === index + 1) &&
          copy.buffer.byteLength <= Math.max(SLAB_SIZE_BYTES, copy.length),
      );
    }),
    300,
  );
  const [one, two] = [new Slab(), new Slab()].map((slab) => slab.copy(Uint8Array.of(1)));
  t.not(one?.buffer, two?.buffer, "each slab has its own");
});

t.test("a record's encoding names its place, and the largest fits the bound", (t) => {
  const record = { stream: "s", partition: 1, index: 2n, height: heightOf(3n), timeMs: 4n, data: utf8("same") };
  t.not(toHex(encodeRecord(record)), toHex(encodeRecord({ ...record, index: 3n })));
  t.not(toHex(encodeRecord(record)), toHex(encodeRecord({ ...record, partition: 2 })));
  const empty = { ...record, data: new Uint8Array(0) };
  t.not(toHex(encodeRecord(empty)), toHex(encodeRecord({ ...empty, isTombstone: true })), "an empty value is a value");
  t.not(toHex(encodeRecord(empty)), toHex(encodeRecord({ ...empty, key: new Uint8Array(0) })), "and an empty key a key");
  const large = {
    stream: "s".repeat(64),
    partition: 65_535,
    index: (1n << 64n) - 1n,
    height: heightOf((1n << 63n) - 1n),
    timeMs: 8_640_000_000_000_000n,
    key: new Uint8Array(256),
    headers: Array.from({ length: 16 }, () => ({ name: "n".repeat(64), value: new Uint8Array(1024) })),
    data: new Uint8Array(65_536 - 256 - 16 * (64 + 1024)),
  };
  t.equal(recordSizeBytes({ key: large.key, value: large.data, headers: large.headers }), 65_536);
  t.ok(encodeRecord(large).length <= RECORD_ENCODING_SIZE_BYTES_MAX);
  t.ok(parseRecord(encodeRecord(large)).ok);
  t.end();
});

t.test("what is signed differs in every field", (t) => {
  const vote = voteOf(1, {});
  const signed = (over: Partial<Vote>, chainId = CHAIN_ID): string => toHex(voteSigningBytes(chainId, { ...vote, ...over }));
  const all = [
    signed({}),
    signed({}, "pyra-other"),
    signed({ step: "prevote" }),
    signed({ height: heightOf(6n) }),
    signed({ round: 1 }),
    signed({ blockHash: undefined }),
    signed({ blockHash: hashAt(2) }),
    signed({ validator: BOB }),
  ];
  t.equal(new Set(all).size, all.length);
  const proposal = proposalOf(1, {});
  const proposals = [
    proposal,
    { ...proposal, round: 4 },
    { ...proposal, validRound: 1 },
    { ...proposal, blockHash: hashAt(2) },
    { ...proposal, height: heightOf(6n) },
  ];
  t.equal(new Set(proposals.map((one) => toHex(proposalSigningBytes(CHAIN_ID, one)))).size, proposals.length);
  t.end();
});

async function certificateCode(set: ValidatorSet, certificate: QuorumCertificate, chainId = CHAIN_ID): Promise<string> {
  const question = { chainId, rule: "twoThirds", set } as const;
  const sync = verifyCertificate(question, certificate);
  const parallel = await verifyCertificateAsync(question, certificate);
  t.same(parallel, sync, "both ways agree");
  return sync.ok ? "ok" : sync.error.code;
}

t.test(
  "a certificate proves a block only with strictly more than two thirds of the power, in order, for this very vote",
  async (t) => {
    const set = setOf([1n, 1n, 1n]);
    t.equal(await certificateCode(set, certificateOf(set, [0, 1, 2])), "ok");
    t.equal(await certificateCode(set, certificateOf(set, [0, 1])), "certificate_power", "exactly two thirds is not more");
    const weighted = setOf([4n, 3n, 3n]);
    t.equal(await certificateCode(weighted, certificateOf(weighted, [0, 1])), "ok", "7 of 10");
    t.equal(await certificateCode(weighted, certificateOf(weighted, [1, 2])), "certificate_power", "6 of 10");
    const good = certificateOf(set, [0, 1, 2]);
    const [first, second, third] = good.signatures;
    assert(first !== undefined && second !== undefined && third !== undefined, "three signatures");
    t.equal(
      await certificateCode(set, { ...good, signatures: [first, first, first] }),
      "certificate_order",
      "one validator three times",
    );
    t.equal(await certificateCode(set, { ...good, signatures: [second, first, third] }), "certificate_order");
    t.equal(
      await certificateCode(set, { ...good, signatures: [first, { ...second, signature: first.signature }, third] }),
      "certificate_signature",
    );
    t.equal(await certificateCode(set, { ...good, round: 1 }), "certificate_signature", "votes of another round");
    t.equal(await certificateCode(set, { ...good, height: heightOf(6n) }), "certificate_signature", "of another height");
    t.equal(await certificateCode(set, { ...good, blockHash: hashAt(2) }), "certificate_signature", "for another block");
    t.equal(await certificateCode(set, good, "pyra-other"), "certificate_signature", "on another network");
    const prevotes = set.validators.map(({ address }) =>
      present(
        [0, 1, 2].map((signer) => voteOf(signer, { step: "prevote" })).find((vote) => bytesEqual(vote.validator, address)),
        "vote",
      ),
    );
    t.equal(
      await certificateCode(set, { ...good, signatures: prevotes }),
      "certificate_signature",
      "prevotes are not precommits",
    );
    const larger = setOf([1n, 1n, 1n, 1n, 1n, 1n]);
    t.equal(await certificateCode(set, certificateOf(larger, [0, 1, 2, 3, 4])), "certificate_signer", "signers from another set");
    t.equal(await certificateCode(set, { ...good, signatures: [] }), "certificate_power");
  },
);

t.test("a certificate is accepted exactly when its signers hold more than two thirds", async (t) => {
  const powers = fc.array(fc.bigInt(1n, 5n), { minLength: 1, maxLength: 5 });
  await checkProperty(
    t,
    "power",
    fc.property(powers, fc.nat(31), (list, mask) => {
      const set = setOf(list);
      const signers = list.map((_, index) => index).filter((index) => (mask >> index) & 1);
      if (signers.length === 0) return true;
      return (
        verifyCertificate({ chainId: CHAIN_ID, rule: "twoThirds", set }, certificateOf(set, signers)).ok ===
        powerOf(set, signers) * 3n > set.totalPower * 2n
      );
    }),
    60,
  );
});

t.test("evidence holds only two different signed statements about one thing, in one order", (t) => {
  const set = setOf([1n, 1n, 1n, 1n]);
  const codeOf = (evidence: ReturnType<typeof doubleVoteOf>): string => {
    const verified = verifyEvidence(CHAIN_ID, set, evidence);
    return verified.ok ? "ok" : verified.error.code;
  };
  const one = voteOf(1, { blockHash: hashAt(1) });
  const other = voteOf(1, { blockHash: hashAt(2) });
  const evidence = doubleVoteOf(one, other);
  t.equal(codeOf(evidence), "ok");
  t.same(doubleVoteOf(other, one), evidence, "one encoding, whoever finds it");
  assert(evidence.kind === "doubleVote", "kind");
  t.equal(codeOf({ ...evidence, first: evidence.second, second: evidence.first }), "evidence_order");
  t.equal(codeOf(doubleVoteOf(one, voteOf(1, { blockHash: undefined }))), "ok", "a block and nil");
  t.equal(codeOf(doubleVoteOf(one, one)), "evidence_mismatch", "one vote twice");
  t.equal(
    codeOf(doubleVoteOf(one, voteOf(1, { blockHash: hashAt(2), round: 1 }))),
    "evidence_mismatch",
    "different rounds: an honest validator may",
  );
  t.equal(
    codeOf(doubleVoteOf(one, voteOf(1, { blockHash: hashAt(2), step: "prevote" }))),
    "evidence_mismatch",
    "different steps",
  );
  t.equal(codeOf(doubleVoteOf(one, voteOf(2, { blockHash: hashAt(2) }))), "evidence_mismatch", "different validators");
  t.equal(codeOf(doubleVoteOf(one, { ...other, signature: one.signature })), "evidence_signature", "a forged one");
  t.equal(
    codeOf(doubleVoteOf(one, voteOf(1, { blockHash: hashAt(2) }, "pyra-other"))),
    "evidence_signature",
    "a vote on another network",
  );
  t.equal(
    codeOf(doubleVoteOf(voteOf(9, { blockHash: hashAt(1) }), voteOf(9, { blockHash: hashAt(2) }))),
    "evidence_signer",
    "not a validator",
  );
  const proposals = doubleProposalOf(proposalOf(1, { blockHash: hashAt(1) }), proposalOf(1, { blockHash: hashAt(2) }));
  t.equal(codeOf(proposals), "ok");
  t.equal(
    codeOf(doubleProposalOf(proposalOf(1, { validRound: 1 }), proposalOf(1, { validRound: -1 }))),
    "ok",
    "one block with two valid rounds",
  );
  t.equal(codeOf(doubleProposalOf(proposalOf(1, {}), proposalOf(1, {}))), "evidence_mismatch");
  t.end();
});

/** Arbitrary valid block parts, for properties. */

import fc from "fast-check";
import { utf8 } from "../../../crypto/base/bytes.ts";
import { encodeValue } from "../../../crypto/codec/value.ts";
import { addressOfKey } from "../../../crypto/identity/address.ts";
import { hashOf } from "../../../crypto/hash/hash.ts";
import type { Block, Header, TransactionResult } from "../block.ts";
import { headerHash } from "../block.ts";
import type { Evidence } from "../evidence.ts";
import { type Height, heightOf } from "../height.ts";
import type { Call } from "../call.ts";
import { signTransaction, type Transaction, type TransactionBody } from "../transaction.ts";
import { type ValidatorSet, validatorSetOf } from "../validators.ts";
import type { Certificate, Proposal, Vote } from "../vote.ts";
import { keyPairAt } from "./fixtures.ts";

const SIGNERS = 6;

export const hashArbitrary = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(hashOf);
export const addressArbitrary = fc.nat(SIGNERS - 1).map((index) => addressOfKey(keyPairAt(index).publicKey));
export const heightArbitrary: fc.Arbitrary<Height> = fc.oneof(fc.bigInt(0n, 300n), fc.bigInt(0n, (1n << 63n) - 1n)).map(heightOf);
export const nameArbitrary = fc.stringMatching(/^[a-z0-9][a-z0-9_.-]{0,63}$/);
export const amountArbitrary = fc.oneof(fc.bigInt(0n, 1000n), fc.bigInt(0n, (1n << 64n) - 1n));

const roundArbitrary = fc.oneof(fc.nat(30), fc.nat(0x7fff_ffff));
const signatureArbitrary = fc.uint8Array({ maxLength: 80 });
const rowKeyArbitrary = fc.uint8Array({ minLength: 1, maxLength: 40 });
const rowValueArbitrary = fc
  .oneof(
    fc.string({ maxLength: 20 }),
    fc.nat(),
    fc.constant(null),
    fc.array(fc.nat(), { maxLength: 4 }),
    fc.dictionary(fc.string({ maxLength: 4 }), fc.boolean(), { maxKeys: 3, noNullPrototype: true }),
  )
  .map((value) => encodeValue(value));

/** Any call, one of each kind as likely as another. */
export const callArbitrary: fc.Arbitrary<Call> = fc.oneof(
  fc.record({
    kind: fc.constant("transfer" as const),
    to: addressArbitrary,
    amount: amountArbitrary.map((amount) => (amount === 0n ? 1n : amount)),
  }),
  fc.record({ kind: fc.constant("tableCreate" as const), namespace: nameArbitrary, table: nameArbitrary }),
  fc.record({
    kind: fc.constant("tablePut" as const),
    namespace: nameArbitrary,
    table: nameArbitrary,
    key: rowKeyArbitrary,
    value: rowValueArbitrary,
  }),
  fc.record({ kind: fc.constant("tableDelete" as const), namespace: nameArbitrary, table: nameArbitrary, key: rowKeyArbitrary }),
  fc.record({
    kind: fc.constant("logAppend" as const),
    stream: nameArbitrary,
    partition: fc.nat(65_535),
    records: fc.array(fc.uint8Array({ maxLength: 20 }), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({
    kind: fc.constant("streamAppend" as const),
    stream: nameArbitrary,
    partition: fc.nat(65_535),
    records: fc.array(
      fc.record({
        key: fc.uint8Array({ minLength: 1, maxLength: 20 }),
        value: fc.option(fc.uint8Array({ maxLength: 20 }), { nil: undefined }),
        headers: fc.array(fc.record({ name: nameArbitrary, value: fc.uint8Array({ maxLength: 9 }) }), { maxLength: 2 }),
      }),
      { minLength: 1, maxLength: 4 },
    ),
  }),
  fc.record({
    kind: fc.constant("recordErase" as const),
    stream: nameArbitrary,
    partition: fc.nat(65_535),
    index: amountArbitrary,
  }),
  fc
    .record({
      kind: fc.constant("streamCreate" as const),
      stream: nameArbitrary,
      partitions: fc.integer({ min: 1, max: 1024 }),
      isOpen: fc.boolean(),
      segmentSizeBytes: fc.integer({ min: 4096, max: 1 << 30 }),
      segmentAgeMs: fc.integer({ min: 1000, max: 1_000_000 }),
      spans: fc.record({ retentionMs: fc.integer({ min: 1 }), compactionMs: fc.integer({ min: 1 }) }, { requiredKeys: [] }),
    })
    .map(({ spans, ...call }) => ({ ...call, ...spans })),
  fc.record({
    kind: fc.constant("validatorSet" as const),
    key: fc.nat(SIGNERS - 1).map((index) => keyPairAt(index).publicKey),
    power: fc.bigInt(0n, 1n << 56n),
  }),
  fc.constant({ kind: "rewardsClaim" as const }),
  fc.record({ kind: fc.constant("rewardsClaim" as const), validator: addressArbitrary }),
  fc.record({
    kind: fc.constant("validatorDeclare" as const),
    key: fc.nat(SIGNERS - 1).map((index) => keyPairAt(index).publicKey),
    operator: addressArbitrary,
    commissionBps: fc.nat(10_000),
    commissionStepBpsMax: fc.nat(10_000),
  }),
  fc.record({
    kind: fc.constantFrom("stakeBond" as const, "stakeUnbond" as const),
    validator: addressArbitrary,
    amount: amountArbitrary.map((amount) => (amount === 0n ? 1n : amount)),
  }),
  fc.record({
    kind: fc.constant("validatorCommission" as const),
    validator: addressArbitrary,
    commissionBps: fc.nat(10_000),
  }),
  fc.record({ kind: fc.constant("validatorUnjail" as const), validator: addressArbitrary }),
  fc.record({
    kind: fc.constant("numberClaim" as const),
    number: fc.nat(1023),
    holder: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  }),
  fc.record({
    kind: fc.constant("sessionOpen" as const),
    stream: nameArbitrary,
    partition: fc.nat(65_535),
    session: amountArbitrary,
  }),
  fc.record({
    kind: fc.constant("sessionAppend" as const),
    stream: nameArbitrary,
    partition: fc.nat(65_535),
    session: amountArbitrary,
    sequence: amountArbitrary,
    records: fc.array(fc.uint8Array({ maxLength: 20 }), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("numberRenew" as const), number: fc.nat(1023), epoch: amountArbitrary }),
  fc.record({
    kind: fc.constant("numberRelease" as const),
    number: fc.nat(1023),
    epoch: amountArbitrary,
    endMs: fc.bigInt(0n, 8_640_000_000_000_000n),
  }),
);

/** A signed transaction with any valid body. */
export const transactionArbitrary: fc.Arbitrary<Transaction> = fc
  .record({
    signer: fc.nat(SIGNERS - 1),
    chainId: nameArbitrary,
    nonce: amountArbitrary,
    fee: amountArbitrary,
    expiry: heightArbitrary,
    calls: fc.array(callArbitrary, { minLength: 1, maxLength: 4 }),
  })
  .map(({ signer, ...rest }) => {
    const keyPair = keyPairAt(signer);
    const body: TransactionBody = { ...rest, sender: addressOfKey(keyPair.publicKey) };
    return signTransaction(body, keyPair);
  });

export const voteArbitrary: fc.Arbitrary<Vote> = fc.record({
  step: fc.constantFrom("prevote" as const, "precommit" as const),
  height: heightArbitrary,
  round: roundArbitrary,
  blockHash: fc.option(hashArbitrary, { nil: undefined }),
  validator: addressArbitrary,
  signature: signatureArbitrary,
});

export const proposalArbitrary: fc.Arbitrary<Proposal> = fc
  .record({
    height: heightArbitrary,
    round: roundArbitrary,
    blockHash: hashArbitrary,
    back: fc.nat(),
    validator: addressArbitrary,
    signature: signatureArbitrary,
  })
  .map(({ back, ...proposal }) => ({ ...proposal, validRound: Math.max(-1, proposal.round - 1 - (back % 5)) }));

export const certificateArbitrary: fc.Arbitrary<Certificate> = fc.oneof(
  fc.record({
    kind: fc.constant("quorum" as const),
    height: heightArbitrary,
    round: roundArbitrary,
    blockHash: hashArbitrary,
    signatures: fc.array(fc.record({ validator: addressArbitrary, signature: signatureArbitrary }), { maxLength: 5 }),
  }),
  fc.record({
    kind: fc.constant("work" as const),
    height: heightArbitrary,
    blockHash: hashArbitrary,
    bits: fc.nat(0xff_ff_ff_ff),
    extraNonce: fc.bigInt(0n, (1n << 64n) - 1n),
    nonce: fc.bigInt(0n, (1n << 64n) - 1n),
    chainWork: fc.bigInt(0n, (1n << 256n) - 1n),
  }),
);

export const evidenceArbitrary: fc.Arbitrary<Evidence> = fc.oneof(
  fc.record({ kind: fc.constant("doubleVote" as const), first: voteArbitrary, second: voteArbitrary }),
  fc.record({ kind: fc.constant("doubleProposal" as const), first: proposalArbitrary, second: proposalArbitrary }),
);

export const resultArbitrary: fc.Arbitrary<TransactionResult> = fc.oneof(
  fc.constant({ kind: "applied" as const }),
  fc.record({
    kind: fc.constant("failed" as const),
    code: fc.string({ maxLength: 30 }).filter((text) => utf8(text).length <= 64),
    field: fc.string({ maxLength: 30 }).filter((text) => utf8(text).length <= 64),
  }),
);

export const headerArbitrary: fc.Arbitrary<Header> = fc.record({
  chainId: nameArbitrary,
  height: heightArbitrary,
  timeMs: fc.bigInt(0n, 8_640_000_000_000_000n),
  previous: hashArbitrary,
  historyRoot: hashArbitrary,
  transactionsRoot: hashArbitrary,
  stateRoot: hashArbitrary,
  resultsRoot: hashArbitrary,
  validatorsHash: hashArbitrary,
  nextValidatorsHash: hashArbitrary,
  certificateHash: hashArbitrary,
  evidenceRoot: hashArbitrary,
  proposer: addressArbitrary,
});

/** A block of valid parts; its header's commitments are arbitrary. */
export const blockArbitrary: fc.Arbitrary<Block> = fc
  .record({
    header: headerArbitrary,
    transactions: fc.array(transactionArbitrary, { maxLength: 3 }),
    previousCertificate: fc.option(certificateArbitrary, { nil: undefined }),
    evidence: fc.array(evidenceArbitrary, { maxLength: 2 }),
  })
  .map((parts) => ({ ...parts, hash: headerHash(parts.header) }));

/** A set of distinct validators with any powers and small priorities. */
export const validatorSetArbitrary: fc.Arbitrary<ValidatorSet> = fc
  .array(fc.record({ power: fc.bigInt(1n, 1000n), priority: fc.bigInt(-2000n, 2000n) }), { minLength: 1, maxLength: SIGNERS })
  .map((members) => validatorSetOf(members.map((member, index) => ({ ...member, key: keyPairAt(index).publicKey }))));

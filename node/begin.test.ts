/** How a validator begins: what it must not say when it may have forgotten what it said before. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { present } from "../crypto/base/assert.ts";
import { bytesEqual } from "../crypto/base/bytes.ts";
import { addressOfKey } from "../crypto/identity/address.ts";
import type { Block } from "../chain/block/block.ts";
import { heightOf } from "../chain/block/height.ts";
import { proposerAt } from "../chain/block/validators.ts";
import { proposalSigningBytes, type Vote, type VoteStep, voteSigningBytes } from "../chain/block/vote.ts";
import { TENDERMINT_CODEC } from "../consensus/tendermint/codec.ts";
import { encodeMessage } from "../consensus/tendermint/message.ts";
import { beginConsensus } from "./begin.ts";
import { KEY_PAIRS, type Member, SILENT, Wire, WIRE_NETWORK } from "./driver/testing/wire.ts";
import { WriteAheadLog } from "./driver/wal.ts";
import { SYSTEM_CLOCK } from "./ports/clock.ts";
import { SYSTEM_DISK } from "./ports/disk.ts";

const { chainId, genesisTimeMs } = WIRE_NETWORK;
const ADDRESSES = KEY_PAIRS.map(({ publicKey }) => addressOfKey(publicKey));
const height = heightOf(1n);

/** Has the member hear a vote of another validator. */
async function hear({ driver }: Member, index: number, vote: Pick<Vote, "step" | "round" | "blockHash">): Promise<void> {
  const unsigned = { ...vote, height, validator: present(ADDRESSES[index], "address") };
  const signature = present(KEY_PAIRS[index], "key pair").sign(voteSigningBytes(chainId, unsigned));
  await driver.receive(`${index}`, encodeMessage({ kind: "vote", vote: { ...unsigned, signature } }));
}

/** Has the member hear a new block, by the proposer of its round. */
async function propose({ driver }: Member, round: number, proposer: number, block: Block): Promise<void> {
  const unsigned = { height, round, blockHash: block.hash, validRound: -1, validator: present(ADDRESSES[proposer], "address") };
  const signature = present(KEY_PAIRS[proposer], "key pair").sign(proposalSigningBytes(chainId, unsigned));
  await driver.receive(`${proposer}`, encodeMessage({ kind: "proposal", proposal: { ...unsigned, signature }, block }));
}

/** What validator 0 voted, as it tells others. */
function votesOf({ driver }: Member, step: VoteStep, round: number): readonly Vote[] {
  return [...driver.knowledge(height)].flatMap((bytes) => {
    const parsed = TENDERMINT_CODEC.parse(bytes);
    const vote = parsed.ok && parsed.value.kind === "vote" ? parsed.value.vote : undefined;
    const isWanted = vote?.step === step && vote.round === round && bytesEqual(vote.validator, present(ADDRESSES[0], "address"));
    return isWanted ? [vote] : [];
  });
}

/** The first round from `from` on that another validator than 0 proposes in, and which. */
function roundOfAnother({ ledger }: Member, from: number): { readonly round: number; readonly proposer: number } {
  const set = present(ledger.validators(height), "set");
  for (let round = from; ; round += 1) {
    const { address } = proposerAt(set, round);
    const proposer = ADDRESSES.findIndex((known) => bytesEqual(known, address));
    if (proposer !== 0) return { round, proposer };
  }
}

t.test("a validator whose log is gone votes for nothing at the height at which it may be locked", async (t) => {
  // An operator who is told that the log is damaged replaces it, and keeps the record of signatures. The guard still refuses to sign a
  // step twice; that in a later round nothing else may be prevoted stood in the log alone.
  const wire = new Wire(t);
  const first = await wire.start(0);
  const blockAt = (timeMs: bigint): Block =>
    first.ledger.build({ proposer: present(ADDRESSES[1], "address"), timeMs, transactions: [], evidence: [] }).block;
  const [locked, other] = [blockAt(genesisTimeMs + 1n), blockAt(genesisTimeMs + 2n)];
  const early = roundOfAnother(first, 0);
  // The block first, and then all votes for it at once: as soon as some have voted and are not of one mind, the round's time runs.
  await propose(first, early.round, early.proposer, locked);
  const vote = { step: "prevote", round: early.round, blockHash: locked.hash } as const;
  await Promise.all([1, 2, 3].map(async (index) => await hear(first, index, vote)));
  await wire.until(
    () => votesOf(first, "precommit", early.round).length > 0,
    () => "no precommit",
  );
  t.same(votesOf(first, "precommit", early.round)[0]?.blockHash, locked.hash, "it is locked");

  await wire.stop(0);
  const directory = join(wire.directory, "0", "wal");
  rmSync(directory, { recursive: true });
  const again = await wire.start(0, first.store, { isStarted: false });
  const closing = new AbortController();
  const begun = beginConsensus({
    ledger: again.ledger,
    network: { peers: () => [{ height: 0n }] },
    synchroniser: { progress: () => ({ height: heightOf(0n), target: heightOf(0n), peers: 1 }) },
    guard: again.guard,
    driver: again.driver,
    wal: new WriteAheadLog(directory, SYSTEM_DISK),
    self: present(ADDRESSES[0], "address"),
    clock: SYSTEM_CLOCK,
    log: SILENT,
    signal: closing.signal,
  });
  const late = roundOfAnother(again, early.round + 1);
  for (const index of [1, 2]) await hear(again, index, { step: "prevote", round: late.round, blockHash: undefined });
  await propose(again, late.round, late.proposer, other);
  await wire.until(
    () => again.driver.status()?.round === late.round && again.driver.status()?.step !== "propose",
    () => `at ${JSON.stringify(again.driver.status()?.round)} ${again.driver.status()?.step}`,
  );
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.same(votesOf(again, "prevote", late.round), [], "nothing is said for another block");
  t.equal(again.guard.unknownHeight, height, "also after a restart");
  closing.abort();
  await begun;
});

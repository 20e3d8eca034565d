/**
 * The application's share of a state: what transactions wrote, whichever engine ordered them.
 *
 * A header's state root also covers what belongs to the engine (validators and their turns, stake, rewards, parameters)
 * and the place and time of each record, which blocks of another engine cannot have in common. The application root is
 * the root of the same kind of tree over the rest: accounts, tables, rows, and of every partition the log root over what
 * was appended to it.
 */

import { heightOf } from "../../chain/block/height.ts";
import { parseRecord } from "../../chain/block/record.ts";
import type { Ledger } from "../../chain/ledger/ledger.ts";
import { logRoot } from "../../chain/merkle/log.ts";
import { parseStateKey } from "../../chain/state/keys.ts";
import { StateTree } from "../../chain/state/tree.ts";
import type { StateUpdate } from "../../chain/state/update.ts";
import { openMemoryStore } from "../../chain/store/memory.ts";
import { assert, present } from "../../crypto/base/assert.ts";
import type { Hash } from "../../crypto/hash/hash.ts";

const RECORDS_PER_READ = 256;

/** The application root of a ledger's newest state. Cost: reads all of it. */
export async function applicationRoot(ledger: Ledger): Promise<Hash> {
  const { height } = ledger.head();
  const updates: StateUpdate[] = [];
  for (const { key, value } of ledger.stateEntries(height, {})) {
    const parsed = present(parseStateKey(key), "state key");
    if (parsed.kind === "account" || parsed.kind === "table" || parsed.kind === "row") updates.push({ key, value });
    if (parsed.kind === "partition") updates.push({ key, value: partitionRoot(ledger, parsed.stream, parsed.partition) });
  }
  const tree = await StateTree.open(openMemoryStore());
  return tree.stage(undefined, heightOf(0n), updates).root;
}

function partitionRoot(ledger: Ledger, stream: string, partition: number): Hash {
  const data: Uint8Array[] = [];
  for (;;) {
    const records = ledger.records(stream, partition, BigInt(data.length), RECORDS_PER_READ);
    if (records.length === 0) return logRoot(data);
    for (const { bytes } of records) {
      const record = parseRecord(bytes);
      assert(record.ok, `record of ${stream}`);
      data.push(record.value.data);
    }
  }
}

/** A network of four validators as processes, with something of every kind on its chain. */

import { fileURLToPath } from "node:url";
import { present } from "../../../crypto/base/assert.ts";
import { toHex, utf8 } from "../../../crypto/base/bytes.ts";
import { encodeValue } from "../../../crypto/codec/value.ts";
import { networkHash } from "../../../chain/block/genesis.ts";
import type { Call } from "../../../chain/block/call.ts";
import { openKey } from "../../../node/home/keys.ts";
import { readManifest } from "../../../node/home/manifest.ts";
import { readPassphraseFile } from "../../../node/home/passphrase.ts";
import { freeBasePort, LocalNetwork } from "../../launcher/network.ts";
import { accountOf } from "../../launcher/plan.ts";
import { Sender } from "../../launcher/sender.ts";

const MANIFEST_PATH = fileURLToPath(new URL("../../launcher/networks/local.json", import.meta.url));
const START_TIMEOUT_MS = 60_000;
/** What a stranger may well write into a row, hoping that a page takes it for more than text. */
export const MARKUP = "<img src=x onerror=\"document.title='taken'\">";
const ITEMS = ["tea", "coffee", "bread", "salt", "figs", "olives", "honey", "rice"];

/** A running network. */
export type BusyNetwork = AsyncDisposable & {
  readonly network: LocalNetwork;
  /** Of the first validator, with a slash at the end. */
  readonly url: string;
  readonly networkHash: string;
  /** Sends about so many more transactions over so many blocks, and waits until they are final. */
  readonly send: (transactions: number, blocks: number) => Promise<void>;
};

/** Starts one, and sends `transactions` to it, over about `blocks` blocks. */
export async function openBusyNetwork(options: {
  readonly directory: string;
  readonly transactions: number;
  readonly blocks?: number;
  readonly signal: AbortSignal;
}): Promise<BusyNetwork> {
  const { directory, transactions, blocks = 1, signal } = options;
  const network = await LocalNetwork.open({
    directory,
    manifest: await readManifest(MANIFEST_PATH),
    basePort: await freeBasePort(),
    signal,
  });
  await network.start({ timeoutMs: START_TIMEOUT_MS });
  const { accounts } = network.homes;
  const passphrase = await readPassphraseFile(accounts.passphrasePath);
  const client = present(network.nodes[0], "validator").client;
  const senders = await Promise.all(
    ["alice", "bob", "carol"].map(async (name) => {
      const account = accountOf(await openKey(accounts, name, passphrase));
      const { value } = await client.account(account.address, { signal });
      return new Sender({ account, network: network.network, nonce: value.nonce, node: () => client, signal });
    }),
  );
  const [alice, bob, carol] = senders as [Sender, Sender, Sender];
  await alice.sendAll([
    [{ kind: "tableCreate", namespace: "shop", table: "orders" }],
    [{ kind: "tableCreate", namespace: "shop", table: "stock" }],
    [{ kind: "tablePut", namespace: "shop", table: "stock", key: utf8("<b>salt</b>"), value: encodeValue({ note: MARKUP }) }],
  ]);
  let count = 0;
  const sendOnce = async (wanted: number): Promise<void> => {
    const first = count;
    count += wanted;
    const calls = (sender: Sender, index: number): readonly Call[] => callsOf(sender, index, { alice, bob });
    await Promise.all(
      [alice, bob, carol].map(async (sender, part) => {
        const indexes = Array.from({ length: wanted }, (_, index) => first + index).filter((index) => index % 3 === part);
        await sender.sendAll(indexes.map((index) => calls(sender, index)));
      }),
    );
  };
  // Uneven, as traffic is: the same in every run.
  const send = async (wanted: number, over: number): Promise<void> => {
    for (let block = 0; block < over; block += 1)
      await sendOnce(Math.max(3, Math.round((wanted / over) * (0.4 + ((block * 7) % 13) / 10))));
  };
  await send(transactions, blocks);
  const url = present(network.nodes[0], "validator").rpcUrl.replace(/\/?$/, "/");
  return {
    network,
    url,
    networkHash: toHex(networkHash(network.network)),
    send,
    [Symbol.asyncDispose]: async () => await network[Symbol.asyncDispose](),
  };
}

/** Alice keeps tables, bob pays, carol writes to a stream. */
function callsOf(
  sender: Sender,
  index: number,
  { alice, bob }: { readonly alice: Sender; readonly bob: Sender },
): readonly Call[] {
  const name = `2026-${String(index).padStart(4, "0")}`;
  const item = present(ITEMS[index % ITEMS.length], "item");
  if (sender === alice)
    return [
      {
        kind: "tablePut",
        namespace: "shop",
        table: "orders",
        key: utf8(name),
        value: encodeValue({ item, count: (index % 7) + 1, paid: index % 2 === 0 }),
      },
    ];
  if (sender === bob) return [{ kind: "transfer", to: alice.account.address, amount: BigInt(1000 + index * 17) }];
  return [
    { kind: "logAppend", stream: "shop.events", partition: index % 2, records: [utf8(`order ${name} of ${item} was packed`)] },
  ];
}

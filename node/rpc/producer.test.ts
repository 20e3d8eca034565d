/** Exactly once: a producer on ways that lose questions and answers, to real servers over a real ledger. */

import { getEventListeners } from "node:events";
import t, { type Test } from "tap";
import { addressOfKey } from "../../crypto/identity/address.ts";
import { keyPairAt } from "../../chain/block/testing/fixtures.ts";
import { openLog } from "../log/log.ts";
import { PyralogClient } from "./client.ts";
import { Producer } from "./producer.ts";
import { RpcServer } from "./server.ts";
import { AccountSession } from "./session.ts";
import { DevNet } from "./testing/devnet.ts";
import { drawnSeed } from "../../crypto/testing/property.ts";

const ALICE = keyPairAt(100);
const alice = addressOfKey(ALICE.publicKey);

async function listen(test: Test, net: DevNet): Promise<RpcServer> {
  const log = await openLog({ level: "silent", destination: "stderr" });
  const server = await RpcServer.open({ host: "127.0.0.1", port: 0, cors: [] }, { backend: net.backend, log });
  test.teardown(() => server[Symbol.asyncDispose]());
  return server;
}

/** A network that makes a block for every transaction, its server, and a client that knows the network file alone. */
async function serve(test: Test): Promise<{ readonly net: DevNet; readonly server: RpcServer; readonly client: PyralogClient }> {
  const net = await DevNet.open({ powers: [1n, 1n, 1n, 1n] });
  net.automatic = true;
  const server = await listen(test, net);
  test.teardown(() => net[Symbol.asyncDispose]());
  return { net, server, client: new PyralogClient({ url: server.url, network: net.network }) };
}

/** Draws of one seed: Numerical Recipes, 7.1, which is plenty for losing things. */
function drawing(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A way to a node on which this share of the questions is lost, and as many answers. */
function lossy(draw: () => number, share: number): { readonly fetch: typeof fetch; readonly lost: () => number } {
  let lost = 0;
  const through: typeof fetch = async (input, init) => {
    const fate = draw();
    if (fate < share) {
      lost += 1;
      throw new TypeError("lost on the way there");
    }
    const answer = await fetch(input, init);
    if (fate > 1 - share) {
      lost += 1;
      throw new TypeError("lost on the way back");
    }
    return answer;
  };
  return { fetch: through, lost: () => lost };
}

async function dataOf(reader: PyralogClient, stream: string): Promise<readonly (number | undefined)[]> {
  const data: (number | undefined)[] = [];
  for await (const page of reader.records(stream, 0)) data.push(...page.value.map((record) => record.data[0]));
  return data;
}

t.test(
  "a producer appends each record once and in order through nodes that lose questions and answers, and one that dies",
  async (t) => {
    const { net, server } = await serve(t);
    await net.commit();
    const other = await listen(t, net);
    const { network } = net;
    const seed = drawnSeed();
    t.comment(`seed ${seed}`);
    const draw = drawing(seed);
    const ways = [lossy(draw, 0.06), lossy(draw, 0.06)];
    const clients = [server, other].map(({ url }, index) => new PyralogClient({ url, network, fetch: ways[index]?.fetch }));
    const { signal } = new AbortController();
    const producer = await Producer.open({
      clients,
      keyPair: ALICE,
      stream: "once",
      partition: 0,
      attemptMs: 3000,
      attemptsMax: 100,
      signal,
    });
    const places: bigint[] = [];
    for (let index = 0; index < 8; index += 1) {
      if (index === 5) await server[Symbol.asyncDispose]();
      const { value } = await producer.append([Uint8Array.of(index), Uint8Array.of(100 + index)]);
      t.equal(value.sequence, BigInt(index));
      places.push(value.firstIndex);
    }
    t.same(places, [0n, 2n, 4n, 6n, 8n, 10n, 12n, 14n], "each answer is that of the first time");
    const reader = new PyralogClient({ url: other.url, network });
    const data = await dataOf(reader, "once");
    t.same(data, [0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 5, 105, 6, 106, 7, 107]);
    t.ok(ways.reduce((sum, { lost }) => sum + lost(), 0) >= 1, "something was lost");
    const total = (await reader.account(alice)).value.nonce;
    t.comment(`${total} transactions for nine calls: some were sent again`);

    // The nearest wrong thing: an account that just sends again what had no answer.
    const careless = new AccountSession({
      client: new PyralogClient({ url: other.url, network, fetch: lossy(draw, 0.2).fetch }),
      keyPair: ALICE,
    });
    for (let index = 0; index < 12; index += 1)
      for (let isDone = false; !isDone;)
        isDone = await careless.append("twice", 0, [Uint8Array.of(index)]).then(
          () => true,
          () => false,
        );
    const size = (await reader.partition("twice", 0)).value?.size ?? 0n;
    t.ok(size > 12n, `${size} records of twelve`);
  },
);

t.test("a producer gives up on what cannot pass, and takes no more after an append of which it does not know", async (t) => {
  const { net, client } = await serve(t);
  await net.commit();
  const { signal } = new AbortController();
  const open = { clients: [client], stream: "mine", partition: 0, signal };
  const first = await Producer.open({ ...open, keyPair: ALICE });
  await first.append([Uint8Array.of(1)]);
  await t.rejects(Producer.open({ ...open, keyPair: keyPairAt(101) }), { code: "partition_not_owner" });
  const dead = new PyralogClient({ url: client.url, network: net.network, fetch: lossy(() => 0, 1).fetch });
  await t.rejects(Producer.open({ ...open, clients: [dead], keyPair: ALICE, attemptsMax: 2 }), { code: "rpc_unreachable" });
  let isDown = false;
  const way: typeof fetch = async (input, init) => {
    if (isDown) throw new TypeError("down");
    return await fetch(input, init);
  };
  const falling = new PyralogClient({ url: client.url, network: net.network, fetch: way });
  const second = await Producer.open({ ...open, clients: [falling], keyPair: ALICE, attemptsMax: 2 });
  isDown = true;
  await t.rejects(second.append([Uint8Array.of(2)]), { code: "rpc_unreachable" });
  isDown = false;
  await t.rejects(second.append([Uint8Array.of(3)]), { code: "producer_stopped" }, "nothing may overtake it");
  await t.rejects(Producer.open({ ...open, clients: [], keyPair: ALICE }), { code: "params_invalid" });
  t.equal(getEventListeners(signal, "abort").length, 0, "no attempt leaves anything on the signal of its caller");
});

/** Several networks in one process on loopback, and a bare libp2p node that follows no rule. Real sockets. */

import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { identify } from "@libp2p/identify";
import type { Connection, MessageStream, Stream } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p } from "libp2p";
import { concatBytes, u32, utf8 } from "../../../crypto/base/bytes.ts";
import { hash, type Hash } from "../../../crypto/hash/hash.ts";
import { openLog, type Log } from "../../log/log.ts";
import { openMetrics } from "../../metrics/metrics.ts";
import { encodeHello, HELLO_PROTOCOL, HELLO_VERSION } from "../hello.ts";
import { Network, type NetworkOptions } from "../network.ts";

/** The network that test nodes belong to unless they say otherwise. */
export const TEST_NETWORK: Hash = hash("network", utf8("test network"));

/** How long a busy machine may take for what takes milliseconds. */
export const PATIENCE_MS = 30_000;

/** Set PYRALOG_TEST_LOG=debug to see what the nodes say. */
export const testLog: Log = await openLog({
  level: process.env["PYRALOG_TEST_LOG"] === "debug" ? "debug" : "silent",
  destination: "stderr",
});

/** A seed that only depends on its number. */
export function testSeed(number: number): Uint8Array {
  return hash("network", utf8(`test seed ${number}`));
}

/** Opens a node on a free loopback port; limits are quick unless given. */
export async function openNode(number: number, options: Partial<NetworkOptions> = {}): Promise<Network> {
  return Network.open(
    {
      seed: testSeed(number),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      bootstrap: [],
      chainId: "test",
      networkHash: TEST_NETWORK,
      role: "full",
      height: () => 0n,
      isDiscovering: false,
      ...options,
      limits: { helloIntervalMs: 200, redialDelayMsMax: 400, ...options.limits },
    },
    { log: testLog.child({ node: number }), metrics: openMetrics(), signal: AbortSignal.timeout(PATIENCE_MS) },
  );
}

/** Waits until a claim holds; fails loudly when it does not in time. */
export async function until(claim: () => boolean, what: string, timeoutMs = PATIENCE_MS): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!claim()) {
    if (performance.now() > end) throw new Error(`not in ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A libp2p node with nothing of ours on it. `onSecured` is given what its multiplexer writes to. */
export async function openBare(number: number, onSecured: (connection: MessageStream) => void = () => {}): Promise<Libp2p> {
  return createLibp2p({
    privateKey: await generateKeyPairFromSeed("Ed25519", testSeed(number)),
    addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
    transports: [tcp()],
    connectionEncrypters: [
      (components) => {
        const encrypter = noise()(components);
        const secure = encrypter.secureOutbound.bind(encrypter);
        encrypter.secureOutbound = async (connection, options) => {
          const secured = await secure(connection, options);
          onSecured(secured.connection);
          return secured;
        };
        return encrypter;
      },
    ],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    services: { identify: identify() },
  });
}

/** Dials a node of ours from a bare one. */
export async function dialFromBare(bare: Libp2p, target: Network): Promise<Connection> {
  return bare.dial(multiaddr(target.addresses()[0]));
}

/** Greets as a proper peer would, and returns the frames that come back, joined. */
export async function greetFromBare(connection: Connection, networkHash: Hash = TEST_NETWORK, height = 0n): Promise<Uint8Array> {
  const stream = await connection.newStream(HELLO_PROTOCOL);
  const hello = encodeHello({ version: HELLO_VERSION, networkHash, height, role: "full" });
  stream.send(concatBytes(u32(hello.length), hello));
  return readAll(stream);
}

/** Everything a stream brings until it ends. */
export async function readAll(stream: Stream): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  stream.addEventListener("message", (event) => chunks.push(event.data.subarray()));
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.addEventListener("end", () => resolve());
  stream.addEventListener("close", () => resolve());
  await promise;
  return concatBytes(...chunks);
}

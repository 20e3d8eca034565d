/**
 * etcd with three members. A put is one gRPC call of the key-value service, which answers once a majority has it in
 * its write-ahead logs with fsync and the member that was asked has applied it.
 *
 * The call is made without a client library: a message of two byte fields in the frame that gRPC has over HTTP/2. etcd
 * also has a gateway for JSON, which makes a gRPC call of its own for each request and so costs etcd what its clients
 * do not pay; we do not use it.
 * Source: etcd.io/docs, v3.5: "Clustering Guide", "Configuration options", api/etcdserverpb/rpc.proto; grpc.io, "gRPC over HTTP2".
 */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
import { join } from "node:path";
import { assert, present } from "../../crypto/base/assert.ts";
import { concatBytes, u32, utf8 } from "../../crypto/base/bytes.ts";
import { CodedError } from "../../crypto/base/error.ts";
import { portsOf } from "../../node/home/manifest.ts";
import type { LoadTarget } from "./load.ts";
import { type Cluster, fetchJson, type Peer, PeerProcesses, type PeerStart, runProgram } from "./peer.ts";

const MEMBERS = 3;
const PUT_PATH = "/etcdserverpb.KV/Put";

/** See the file's head. */
export const ETCD: Peer = {
  name: "etcd",
  members: MEMBERS,
  programs: ["etcd"],
  settings: `${MEMBERS} members, write-ahead log with fsync (no --unsafe-no-fsync), one gRPC put a request, else its defaults`,
  unchecked:
    "no signature of a client, no lying member (it tolerates crashes only), no proof of any answer; three members where we have four",
  version: async (program, signal) => {
    const text = await runProgram(program, ["--version"], signal);
    return present(text.split("\n")[0], "version").replace(/^etcd Version: /, "");
  },
  item: (lane, index, valueSizeBytes) => {
    const id = `row-${lane}-${index}`;
    return { id, bytes: putFrame(utf8(id), randomBytes(valueSizeBytes)) };
  },
  start,
};

async function start({ program, directory, basePort, signal }: PeerStart): Promise<Cluster> {
  await using stack = new AsyncDisposableStack();
  const processes = stack.use(new PeerProcesses());
  const members = Array.from({ length: MEMBERS }, (_, index) => {
    const { p2p, rpc } = portsOf(basePort, index);
    return { name: `member${index}`, peerUrl: `http://127.0.0.1:${p2p}`, url: `http://127.0.0.1:${rpc}` };
  });
  const cluster = members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  for (const { name, peerUrl, url } of members) {
    const self = ["--name", name, "--data-dir", join(directory, name), "--log-level", "warn"];
    const peers = ["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl, "--initial-cluster", cluster];
    const clients = ["--listen-client-urls", url, "--advertise-client-urls", url];
    processes.start(program, [...self, ...peers, "--initial-cluster-state", "new", ...clients], join(directory, `${name}.log`));
  }
  processes.watch();
  await processes.waitUntil(async () => {
    const answers = await Promise.all(members.map(async ({ url }) => await fetchJson(`${url}/health`, signal)));
    return answers.every((answer) => (answer as { readonly health?: string } | undefined)?.health === "true");
  }, signal);
  const sessions = members.map(({ url }) => connect(url));
  stack.defer(() => {
    for (const session of sessions) session.destroy();
  });
  await Promise.all(sessions.map(async (session) => await once(session, "connect", { signal })));
  const target = targetOf(sessions);
  const owned = stack.move();
  return { target, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

type GrpcStatus = { readonly "grpc-status"?: string; readonly "grpc-message"?: string };

/** Puts are under way when they are handed in; what is answered by then is final with the next question. */
function targetOf(sessions: readonly ClientHttp2Session[]): LoadTarget {
  let done: { ids: readonly string[]; atMs: number }[] = [];
  let failure: CodedError | undefined;
  const put = (session: ClientHttp2Session, id: string, frame: Uint8Array): void => {
    let isRefused = true;
    const headers = { ":method": "POST", ":path": PUT_PATH, "content-type": "application/grpc", te: "trailers" };
    const stream = session.request(headers);
    const look = (fields: IncomingHttpHeaders): void => {
      const { "grpc-status": status, "grpc-message": message } = fields as GrpcStatus;
      if (status === "0") isRefused = false;
      else if (status !== undefined)
        failure ??= new CodedError("peer_answer", { message: `grpc-status ${status}: ${message ?? ""}` });
    };
    // An answer without a body has its status in the first headers.
    stream.on("response", look);
    stream.on("trailers", look);
    stream.on("error", (cause: Error) => {
      failure ??= new CodedError("peer_answer", { message: cause.message }, { cause });
    });
    stream.on("close", () => {
      if (isRefused) failure ??= new CodedError("peer_answer", { message: "a put ended without a status" });
      else done.push({ ids: [id], atMs: performance.now() });
    });
    stream.resume();
    stream.end(frame);
  };
  return {
    submit: async (lane, items) => {
      const session = present(sessions[lane % sessions.length], "a member");
      for (const { id, bytes } of items) put(session, id, bytes);
      // Lanes have their turns, and answers theirs.
      await new Promise((resolve) => setImmediate(resolve));
      return items.map(() => ({ kind: "waiting" }));
    },
    finalized: async () => {
      if (failure !== undefined) throw failure;
      const found = done;
      done = [];
      return await Promise.resolve(found);
    },
  };
}

/** `PutRequest{key = 1, value = 2}` as gRPC frames it: not compressed, its length, the message. */
export function putFrame(key: Uint8Array, value: Uint8Array): Uint8Array {
  const message = concatBytes(bytesField(1, key), bytesField(2, value));
  return concatBytes(Uint8Array.of(0), u32(message.length), message);
}

/** Protocol buffers: a field of wire type 2. */
function bytesField(number: number, bytes: Uint8Array): Uint8Array {
  assert(bytes.length < 1 << 14, "a length of at most two bytes");
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
  return concatBytes(Uint8Array.of((number << 3) | 2, ...length), bytes);
}

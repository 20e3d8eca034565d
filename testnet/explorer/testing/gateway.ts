/** Servers between a browser and a node: one that alters what it passes on, or is slow, and one that has files alone. */

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";
import { assert } from "../../../crypto/base/assert.ts";

/** JSON as it goes over the wire. */
export type Fields = Record<string, unknown>;

/** What a gateway does to answers. `method` is the question's, or `event` of a subscription. */
export type Manner = {
  /** Alters the result in place. */
  readonly lie?: (method: string, result: Fields, params: Fields) => void;
  /** What a question waits for before it is passed on, if anything. */
  readonly hold?: (method: string) => Promise<void> | undefined;
  /** Lets pages of any origin ask. */
  readonly cors?: boolean;
};

const CORS = { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*" };

/** A listening server. */
export type Gateway = AsyncDisposable & { readonly url: string };

/** Passes everything on to a node, in its manner. */
export async function openGateway(upstream: string, manner: Manner): Promise<Gateway> {
  const server = createServer((request, response) => {
    answer(upstream, manner, request, response).catch((error: unknown) => {
      // The node is gone, or the browser: what a gateway would say.
      if (!response.headersSent) response.writeHead(502);
      response.end(String(error));
    });
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    const node = new WebSocket(upstream.replace(/^http/, "ws"));
    const waiting: string[] = [];
    socket.on("message", (data: Buffer) => {
      if (node.readyState === WebSocket.OPEN) node.send(data.toString());
      else waiting.push(data.toString());
    });
    node.on("open", () => {
      for (const text of waiting.splice(0)) node.send(text);
    });
    node.on("message", (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Fields;
      const event = (message["params"] as Fields | undefined)?.["event"];
      if (event !== undefined) manner.lie?.("event", event as Fields, {});
      socket.send(JSON.stringify(message));
    });
    for (const [one, other] of [
      [socket, node],
      [node, socket],
    ] as const) {
      one.on("close", () => other.close());
      one.on("error", () => other.terminate());
    }
  });
  return await listening(server, () => {
    for (const socket of sockets.clients) socket.terminate();
  });
}

async function answer(upstream: string, manner: Manner, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const allowed = manner.cors === true ? CORS : {};
  if (request.method === "OPTIONS") {
    response.writeHead(204, allowed).end();
    return;
  }
  const url = new URL(request.url ?? "/", upstream);
  if (request.method !== "POST") {
    const passed = await fetch(url, { redirect: "manual" });
    const headers = [...passed.headers].filter(
      ([name]) => !["content-encoding", "content-length", "transfer-encoding"].includes(name),
    );
    response.writeHead(passed.status, Object.fromEntries(headers));
    response.end(Buffer.from(await passed.arrayBuffer()));
    return;
  }
  const asked = JSON.parse(body.toString()) as Fields;
  const method = String(asked["method"]);
  await manner.hold?.(method);
  const passed = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const message = (await passed.json()) as Fields;
  if (message["result"] !== undefined) manner.lie?.(method, message["result"] as Fields, (asked["params"] ?? {}) as Fields);
  response.writeHead(200, { "Content-Type": "application/json", ...allowed });
  response.end(JSON.stringify(message));
}

const TYPES: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

/** A static host: files of a directory below `/pages/`, and nothing else. */
export async function openStaticHost(directory: string, headers: Readonly<Record<string, string>> = {}): Promise<Gateway> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    const name = path === "/pages/" ? "index.html" : path.replace(/^\/pages\//, "");
    const type = TYPES[extname(name)];
    if (request.method !== "GET" || !path.startsWith("/pages/") || type === undefined) return response.writeHead(404).end();
    readFile(join(directory, name)).then(
      (bytes) => response.writeHead(200, { "Content-Type": type, ...headers }).end(bytes),
      () => response.writeHead(404).end(),
    );
    return undefined;
  });
  const host = await listening(server, () => undefined);
  return { ...host, url: `${host.url}pages/` };
}

async function listening(server: Server, onClose: () => void): Promise<Gateway> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert(address !== null && typeof address === "object", "listens on TCP");
  return {
    url: `http://127.0.0.1:${(address satisfies AddressInfo).port}/`,
    [Symbol.asyncDispose]: async () => {
      onClose();
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, "close");
    },
  };
}

/**
 * JSON over kept connections, for load generators: `fetch` takes several times the processor time of what it is for, which here
 * is that of the nodes that are measured.
 */

import { Agent, type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { codeOf } from "../../crypto/base/error.ts";

const ATTEMPTS_MAX = 3;
const agent = new Agent({ keepAlive: true });

/**
 * Posts JSON that is text already, and gives what the answer holds. What is asked may be asked twice: a busy server may close a
 * connection that it takes for idle just as we send.
 */
export async function postJson(url: string, body: string, signal: AbortSignal): Promise<unknown> {
  return await reach(async () => await exchange(url, body, signal));
}

/** As `postJson`, of what is only read. */
export async function getJson(url: string, signal: AbortSignal): Promise<unknown> {
  return await reach(async () => await exchange(url, undefined, signal));
}

async function reach(ask: () => Promise<unknown>): Promise<unknown> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (codeOf(error) !== "ECONNRESET" || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}

async function exchange(url: string, body: string | undefined, signal: AbortSignal): Promise<unknown> {
  const answered = Promise.withResolvers<IncomingMessage>();
  const headers = body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const asked = request(url, { agent, signal, method: body === undefined ? "GET" : "POST", headers }, answered.resolve);
  asked.once("error", answered.reject);
  asked.end(body);
  return JSON.parse(await text(await answered.promise));
}

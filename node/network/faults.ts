/** Errors that libp2p throws where nobody can catch them. */

const TRANSPORT_FAULTS: ReadonlySet<string> = new Set([
  "StreamStateError",
  "StreamClosedError",
  "StreamResetError",
  "StreamAbortedError",
  "StreamBufferError",
  "MuxerClosedError",
  "ConnectionClosedError",
  "ReceiveWindowExceededError",
]);

/**
 * Whether an uncaught error is libp2p writing to something that closed under it, in a microtask or listener of its own.
 *
 * The stream in question is gone and its users have been told; so the process boundary logs these and goes on, where
 * it lets everything else fall. All known causes are avoided (`Network` cuts connections in a turn of their own);
 * a peer's timing must not find one more.
 */
export function isTransportFault(error: unknown): boolean {
  return error instanceof Error && TRANSPORT_FAULTS.has(error.name);
}

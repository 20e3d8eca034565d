/** Histories written down as the events that clients see. */

import { present } from "../../../../crypto/base/assert.ts";
import { History, type Handle, type Operation } from "../history.ts";

/** A call, or how it ended. */
export type Event<Input, Output> =
  | { readonly client: string; readonly kind: "call"; readonly input: Input }
  | { readonly client: string; readonly kind: "return"; readonly output: Output }
  | { readonly client: string; readonly kind: "fail" | "info" };

/** An operation that nothing comes between. */
export function done<Input, Output>(client: string, input: Input, output: Output): readonly Event<Input, Output>[] {
  return [
    { client, kind: "call", input },
    { client, kind: "return", output },
  ];
}

/** Records events through the recorder, one a millisecond. */
export function recorded<Input, Output>(events: readonly Event<Input, Output>[]): readonly Operation<Input, Output>[] {
  const history = new History<Input, Output>({ operationsMax: Math.max(1, events.length) });
  const open = new Map<string, Handle>();
  for (const [atMs, event] of events.entries()) {
    const { client } = event;
    if (event.kind === "call") {
      open.set(client, history.begin(client, event.input, atMs));
      continue;
    }
    const handle = present(open.get(client), `an open operation of ${client}`);
    if (event.kind === "return") history.end(handle, event.output, atMs);
    else if (event.kind === "fail") history.fail(handle, atMs);
    else history.info(handle, atMs);
  }
  return history.operations();
}

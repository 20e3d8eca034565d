/** Who is connected, and what they said of themselves. State only: `network.ts` decides what to do about it. */

import type { Connection } from "@libp2p/interface";
import type { Hello, Role } from "./hello.ts";

/** A greeted peer. */
export type PeerInfo = {
  readonly id: string;
  readonly address: string;
  readonly direction: "inbound" | "outbound";
  readonly role: Role;
  /** What the peer says; nobody has checked it. */
  readonly height: bigint;
  /** Zero, or negative: what we hold against it. */
  readonly score: number;
  /** Wall clock, for people. */
  readonly connectedSinceMs: number;
};

/** One connection. Times are monotonic milliseconds. */
export type Link = {
  readonly connection: Connection;
  readonly peer: string;
  readonly openedAtMs: number;
  readonly openedWallMs: number;
  hello: Hello | undefined;
  heardAtMs: number;
  /** Heartbeats in a row that failed. */
  missCount: number;
  /** Whether a greeting is under way on it. */
  isGreeting: boolean;
};

/** The connections of a node. */
export class Roster {
  readonly #links = new Map<string, Link>();
  readonly #byPeer = new Map<string, Link[]>();

  /** Notes a connection; asking again gives the same link. */
  open(connection: Connection, nowMs: number): Link {
    const known = this.#links.get(connection.id);
    if (known !== undefined) return known;
    const peer = connection.remotePeer.toString();
    const link: Link = {
      connection,
      peer,
      openedAtMs: nowMs,
      openedWallMs: Date.now(),
      hello: undefined,
      heardAtMs: nowMs,
      missCount: 0,
      isGreeting: false,
    };
    this.#links.set(connection.id, link);
    this.#byPeer.set(peer, [...this.linksOf(peer), link]);
    return link;
  }

  /** Forgets a connection. */
  close(connection: Connection): void {
    const link = this.#links.get(connection.id);
    if (link === undefined) return;
    this.#links.delete(connection.id);
    const rest = this.linksOf(link.peer).filter((other) => other !== link);
    if (rest.length === 0) this.#byPeer.delete(link.peer);
    else this.#byPeer.set(link.peer, rest);
  }

  /** Every connection, greeted or not. */
  links(): readonly Link[] {
    return [...this.#links.values()];
  }

  /** The connections to one peer. */
  linksOf(peer: string): readonly Link[] {
    return this.#byPeer.get(peer) ?? [];
  }

  /** The newest open and greeted connection to a peer: an older one may be a leftover that nobody answers on. */
  greetedLink(peer: string): Link | undefined {
    return this.linksOf(peer).findLast((link) => link.hello !== undefined && link.connection.status === "open");
  }

  /** The peers that greeted us, in no particular order. */
  peers(score: (peer: string) => number): PeerInfo[] {
    const peers: PeerInfo[] = [];
    for (const id of this.#byPeer.keys()) {
      const link = this.greetedLink(id);
      if (link?.hello === undefined) continue;
      const { connection, hello } = link;
      const address = connection.remoteAddr.toString();
      peers.push({
        id,
        address,
        direction: connection.direction,
        role: hello.role,
        height: hello.height,
        score: score(id),
        connectedSinceMs: link.openedWallMs,
      });
    }
    return peers;
  }
}

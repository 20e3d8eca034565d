/** The head of an archive: what there is in it, and how a stranger comes to believe the newest header. */

import { type Reader, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Hash } from "../../crypto/hash/hash.ts";
import { readHash, readHeight, readName } from "../../chain/block/fields.ts";
import type { Height } from "../../chain/block/height.ts";
import type { Anchor } from "../light/anchor.ts";
import type { SetChange } from "../light/verifier.ts";

/** What an archive holds: all heights up to this one. */
export type Head = {
  readonly chainId: string;
  readonly networkHash: Hash;
  readonly height: Height;
  readonly anchor: Anchor;
  /** Each set of validators to the next, from the genesis one. */
  readonly changes: readonly SetChange[];
};

const VERSION = 1;
const CHANGES_MAX = 1_000_000;

/** The one encoding of a head. */
export function encodeHead({ chainId, networkHash, height, anchor, changes }: Head): Uint8Array {
  const writer = new Writer().array(7).uint(VERSION).text(chainId).bytes(networkHash).uint(height);
  writer.bytes(anchor.header).bytes(anchor.certificate).array(changes.length);
  for (const change of changes)
    writer.array(3).bytes(change.anchor.header).bytes(change.anchor.certificate).bytes(change.validators);
  return writer.finish();
}

/** Parses what `encodeHead` made. */
export function parseHead(bytes: Uint8Array): Head | undefined {
  const read = readWith(bytes, (reader: Reader): Head => {
    reader.tuple(7);
    const offset = reader.offset;
    if (reader.number() !== VERSION) reader.refuse("encoding_limit", offset);
    const anchorOf = (): Anchor => ({ header: reader.bytes(bytes.length), certificate: reader.bytes(bytes.length) });
    const place = {
      chainId: readName(reader, "chainId"),
      networkHash: readHash(reader, "networkHash"),
      height: readHeight(reader, "height"),
      anchor: anchorOf(),
    };
    const changes: SetChange[] = [];
    const count = reader.array(CHANGES_MAX);
    for (let index = 0; index < count; index += 1) {
      reader.tuple(3);
      changes.push({ anchor: anchorOf(), validators: reader.bytes(bytes.length) });
    }
    return { ...place, changes };
  });
  return read.ok ? read.value : undefined;
}

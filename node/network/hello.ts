/**
 * The greeting: the first thing that two peers say to each other, and from then on their heartbeat.
 *
 * The dialling side asks with its own hello and is answered with the other's. A peer of another network or version is
 * answered with a refusal and cut off. Repeated every `helloIntervalMs`, it keeps claimed heights fresh and notices
 * a peer whose machine is gone.
 *
 * Wire: canonical dag-cbor `[version, networkHash, height, role]`. A claimed height is only that: sync checks it.
 */

import { HASH_SIZE_BYTES, hashOf, type Hash } from "../../crypto/hash/hash.ts";
import { type DecodeError, readWith } from "../../crypto/codec/reader.ts";
import { Writer } from "../../crypto/codec/writer.ts";
import type { Result } from "../../crypto/base/result.ts";
import { assert } from "../../crypto/base/assert.ts";

/** The protocol of the greeting. */
export const HELLO_PROTOCOL = "/pyralog/hello/1";

/** The version of everything spoken after the greeting. */
export const HELLO_VERSION = 1;

/** What a node does, in the order of their numbers on the wire. */
export const ROLES = ["full", "validator", "light"] as const;

/** What a node does. */
export type Role = (typeof ROLES)[number];

/** One side's greeting. */
export type Hello = { readonly version: number; readonly networkHash: Hash; readonly height: bigint; readonly role: Role };

const HEIGHT_END = 1n << 63n;

/** The one encoding of a greeting. */
export function encodeHello(hello: Hello): Uint8Array {
  assert(hello.height >= 0n && hello.height < HEIGHT_END, "not a height: {}", hello.height);
  return new Writer()
    .array(4)
    .uint(hello.version)
    .bytes(hello.networkHash)
    .uint(hello.height)
    .uint(ROLES.indexOf(hello.role))
    .finish();
}

/** Parses a greeting. A version other than ours parses too: the caller refuses it by its own code. */
export function parseHello(bytes: Uint8Array): Result<Hello, DecodeError> {
  return readWith(bytes, (reader) => {
    reader.tuple(4);
    const version = reader.field("version").number(0xffff);
    const networkHash = hashOf(reader.field("networkHash").fixed(HASH_SIZE_BYTES).slice());
    const height = reader.field("height").uint();
    if (height >= HEIGHT_END) reader.refuse("encoding_limit");
    const role = ROLES[reader.field("role").number(ROLES.length - 1)];
    assert(role !== undefined, "a role below the table's length");
    return { version, networkHash, height, role };
  });
}

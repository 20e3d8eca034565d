/** Public test vectors, read in place beside the repository. A missing file fails the test that wants it. */

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

const ROOT = new URL("../../../shared/vectors/", import.meta.url);

/** Where `path` below the vectors is. */
export function vectorPath(path: string): string {
  return fileURLToPath(new URL(path, ROOT));
}

/** The bytes of a vector file; those of a `.gz` unpacked. */
export function readVector(path: string): Uint8Array {
  const bytes = readFileSync(vectorPath(path));
  return new Uint8Array(path.endsWith(".gz") ? gunzipSync(bytes) : bytes);
}

/** The text of a vector file. */
export function readVectorText(path: string): string {
  return new TextDecoder().decode(readVector(path));
}

/** A JSON vector file, of the shape that its source documents. */
export function readVectorJson<T>(path: string): T {
  return JSON.parse(readVectorText(path)) as T;
}

/** The names in a folder of vectors, sorted. */
export function listVectors(path: string): readonly string[] {
  return readdirSync(vectorPath(path)).toSorted();
}

/** What every Wycheproof test says besides its own fields. */
export type WycheproofTest<Test> = Test & {
  readonly tcId: number;
  readonly result: "valid" | "invalid" | "acceptable";
  readonly flags: readonly string[];
};

/** Every test of a Wycheproof file with its group, after checking that none is missing. */
export function wycheproofTests<Group, Test>(
  name: string,
): readonly { readonly group: Group; readonly test: WycheproofTest<Test> }[] {
  const file = readVectorJson<{
    readonly numberOfTests: number;
    readonly testGroups: readonly (Group & { readonly tests: readonly WycheproofTest<Test>[] })[];
  }>(`wycheproof/testvectors_v1/${name}.json`);
  const all: { group: Group; test: WycheproofTest<Test> }[] = [];
  for (const group of file.testGroups) for (const test of group.tests) all.push({ group, test });
  if (all.length !== file.numberOfTests || all.length === 0)
    throw new Error(`${name}: ${all.length} of ${file.numberOfTests} tests`);
  return all;
}

/** One group of an ACVP set. */
export type AcvpGroup<Test> = { readonly parameterSet: string; readonly function?: string; readonly tests: readonly Test[] };

/** The groups of an ACVP set, from its file that holds questions and answers together. */
export function acvpGroups<Test>(name: string): readonly AcvpGroup<Test>[] {
  const file = readVectorJson<{ readonly testGroups: readonly AcvpGroup<Test>[] }>(
    `acvp/acvp/${name}/internalProjection.json.gz`,
  );
  if (file.testGroups.length === 0) throw new Error(`${name}: no groups`);
  return file.testGroups;
}

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

/** The shape of every Wycheproof file. */
export type Wycheproof<Group, Test> = {
  readonly numberOfTests: number;
  readonly testGroups: readonly (Group & {
    readonly tests: readonly (Test & { readonly tcId: number; readonly result: "valid" | "invalid" | "acceptable"; readonly flags: readonly string[] })[];
  })[];
};

/** Every test of a Wycheproof file with its group, after checking that none is missing. */
export function wycheproofTests<Group, Test>(name: string): readonly { readonly group: Group; readonly test: Wycheproof<Group, Test>["testGroups"][number]["tests"][number] }[] {
  const file = readVectorJson<Wycheproof<Group, Test>>(`wycheproof/testvectors_v1/${name}.json`);
  const all = file.testGroups.flatMap((group) => group.tests.map((test) => ({ group, test })));
  if (all.length !== file.numberOfTests || all.length === 0) throw new Error(`${name}: ${all.length} of ${file.numberOfTests} tests`);
  return all;
}

/** The groups of an ACVP set, from its file that holds questions and answers together. */
export function acvpGroups<Test>(name: string): readonly { readonly parameterSet: string; readonly function?: string; readonly tests: readonly Test[] }[] {
  const file = readVectorJson<{ readonly testGroups: readonly { readonly parameterSet: string; readonly function?: string; readonly tests: readonly Test[] }[] }>(
    `acvp/acvp/${name}/internalProjection.json.gz`,
  );
  if (file.testGroups.length === 0) throw new Error(`${name}: no groups`);
  return file.testGroups;
}

/**
 * Completes `package-lock.json` after an install: `node testnet/checks/lock.ts`.
 *
 * Tools come with one optional package a platform. When the registry in use lacks one of them in the exact version,
 * `npm install` leaves it out of the lock without a word, and `npm ci` then refuses the lock on every machine. The
 * entry says what the package is for, so that npm knows to pass over it; it has no integrity, having never been seen.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ROOT } from "./run.ts";

/** Records and not objects: they keep the keys in the order of the file, and a rewrite moves nothing. */
const Lock = z.record(z.string(), z.unknown());
const Packages = z.record(z.string(), z.record(z.string(), z.unknown()));
const Versions = z.record(z.string(), z.string());

/** A parsed `package-lock.json`. */
export type Lock = z.infer<typeof Lock>;

/** An optional package that something wants and the lock does not know. */
export type MissingPackage = { readonly name: string; readonly version: string; readonly owner: string };

/** Parses the lock at `path`. */
export function readLock(path: string): Lock {
  return Lock.parse(JSON.parse(readFileSync(path, "utf8")));
}

/** Optional packages wanted in an exact version that have no entry: what `npm ci` would refuse the lock for. */
export function missingPackages(lock: Lock): MissingPackage[] {
  const packages = Packages.parse(lock["packages"]);
  const isThere = (path: string) => Object.hasOwn(packages, path);
  return Object.entries(packages).flatMap(([owner, entry]) =>
    Object.entries(Versions.parse(entry["optionalDependencies"] ?? {}))
      .filter(([, version]) => /^\d/.test(version))
      .filter(([name]) => !isThere(`node_modules/${name}`) && !isThere(`${owner}/node_modules/${name}`))
      .map(([name, version]) => ({ name, version, owner })),
  );
}

/** The lock with an entry for each missing package, where npm would put it. */
export function completeLock(lock: Lock): Lock {
  const packages = Packages.parse(lock["packages"]);
  const paths = Object.keys(packages);
  for (const missing of missingPackages(lock)) {
    const path = `node_modules/${missing.name}`;
    packages[path] = entryOf(missing, packages[missing.owner]?.["dev"] === true);
    const at = paths.findIndex((other) => other.localeCompare(path, "en") > 0);
    paths.splice(at === -1 ? paths.length : at, 0, path);
  }
  return { ...lock, packages: Object.fromEntries(paths.map((path) => [path, packages[path]])) };
}

/** The platform is in the name: `@oxfmt/binding-linux-arm64-musl`. */
function entryOf({ name, version }: MissingPackage, isDevelopment: boolean): Record<string, unknown> {
  const [os = "", cpu = "", abi = ""] = name
    .replace(/^.*\//, "")
    .replace(/^(binding|core)-/, "")
    .split("-");
  const libc = /^(musl|gnu)/.exec(abi)?.[0];
  return {
    version,
    cpu: [cpu],
    ...(isDevelopment ? { dev: true } : {}),
    ...(libc === undefined ? {} : { libc: [libc === "gnu" ? "glibc" : libc] }),
    optional: true,
    os: [os],
  };
}

if (import.meta.main) {
  const path = join(ROOT, "package-lock.json");
  const lock = readLock(path);
  const missing = missingPackages(lock);
  if (missing.length > 0) writeFileSync(path, `${JSON.stringify(completeLock(lock), undefined, 2)}\n`);
  process.stdout.write(`${missing.length} entries added to package-lock.json\n`);
}

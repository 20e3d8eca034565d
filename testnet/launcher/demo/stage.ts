/** Where the demo's stories play: a running network, the program, and a directory for files. */

import { join } from "node:path";
import type { LocalNetwork } from "../network.ts";
import type { Program } from "./program.ts";

/** See the file's head. */
export type Stage = {
  readonly network: LocalNetwork;
  readonly program: Program;
  readonly directory: string;
  readonly signal: AbortSignal;
};

/** The home whose accounts genesis paid, and whose node is the first validator. */
export function homeOf({ network }: Stage): readonly string[] {
  return ["--home", network.homes.accounts.path];
}

/** How one of those accounts signs on the command line. */
export function from(stage: Stage, name: string): readonly string[] {
  return ["--from", name, ...homeOf(stage)];
}

/** What is trusted offline: the network file, and nothing of a home. */
export function offline({ network, directory }: Stage): readonly string[] {
  return ["--network", network.homes.networkPath, "--home", join(directory, "nobody")];
}

/** Tells what has come true, in a line. */
export type Say = (line: string) => void;

/**
 * Preloaded into a hunting process (`node --import`), with the name of a mutant in `PYRALOG_MUTANT`: its file is
 * loaded with the bug in it. This file loads nothing that a mutant may be in; a mutant whose file was loaded before,
 * or never, ends the process with `mutant_unloaded`.
 */

import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";
import { present } from "../../../crypto/base/assert.ts";
import { mutantOf } from "./catalogue.ts";
import { mutated, ROOT } from "./mutant.ts";

const mutant = mutantOf(present(process.env["PYRALOG_MUTANT"], "PYRALOG_MUTANT"));
const url = pathToFileURL(`${ROOT}${mutant.file}`).href;
let isLoaded = false;

registerHooks({
  load(asked, context, nextLoad) {
    const loaded = nextLoad(asked, context);
    if (asked !== url) return loaded;
    isLoaded = true;
    const { source } = loaded;
    const text = typeof source === "string" ? source : new TextDecoder().decode(source);
    return { ...loaded, source: mutated(mutant, text) };
  },
});

// By the code that it exits with: what is thrown this late is lost where others listen to the end of the process too.
process.on("exit", () => {
  if (isLoaded) return;
  process.stderr.write(`mutant_unloaded: ${mutant.name}: ${mutant.file}\n`);
  process.exitCode = 1;
});

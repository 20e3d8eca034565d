/** What the museum refuses, and what whoever sees it should do. */

export const MUSEUM_CODES = {
  mutant_stale:
    "the text that a mutant replaces is not in its file, or more than once: the code has moved on, rewrite the mutant",
  mutant_unknown: "no mutant of that name; `--json` lists them all",
  mutant_unloaded: "the hunt never loaded the file that the mutant changes: it hunts with the wrong prey",
  unit_unknown: "no unit of that name: see units.ts",
  hunt_failed: "a hunt ended without an answer; what it printed is in the message",
  hunt_unclean: "the hunt finds something in the code as it is: a bug in the hunt, or one in the code",
  museum_argument: "an argument that is not known, or without its value",
} as const satisfies Record<string, string>;

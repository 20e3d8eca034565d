/** What a scrub finds, and what it means for whoever runs the node. */

/** Every code, with what to do. */
export const DAMAGE_CODES = {
  row_missing: "a row that must be there is not",
  row_malformed: "a row does not decode: its bytes were changed",
  row_mismatch: "a row is not what the chain commits to: its bytes were changed",
  row_orphan: "a row is there that nothing leads to",
  row_unreadable: "the store cannot read it: its files are damaged",
  file_checksum: "a block of a store's file does not have its checksum: the disk changed it",
  file_malformed: "a store's file is not of the form that LevelDB writes",
  file_missing: "a file that the store's manifest names is not there",
} as const satisfies Record<string, string>;

/** One of `DAMAGE_CODES`. */
export type DamageCode = keyof typeof DAMAGE_CODES;

/** What is thrown by what guards and repairs. */
export const SCRUB_CODES = {
  store_damaged:
    "What was asked for is damaged on this node's disk, and not served. Ask another node; its operator runs `pyralog scrub --repair`.",
  store_file_damaged:
    "The store was not opened, because what is damaged in it would be left out without a word. Repair it with `pyralog scrub --repair --rpc URL`, naming a node that has good copies, or join anew.",
  scrub_unrepaired:
    "Some damage could not be repaired: no good copy was found. Name nodes that have it with --rpc, or join anew.",
  scrub_damage: "Damage was found. Repair it with `pyralog scrub --repair`.",
} as const satisfies Record<string, string>;

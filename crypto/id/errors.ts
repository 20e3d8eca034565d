/** Why there is no Scarab id, and what a caller should do. */

export const SCARAB_CODES = {
  scarab_text: "not the text of an id: thirteen characters of 0-9 and a-z without i, l, o and u, the first at most f",
  scarab_length: "an id is eight bytes, big-endian",
  clock_behind: "the clock is further behind the newest id than the tolerance: correct the clock, or wait until it has caught up",
  clock_range: "the clock is outside the years that ids can tell (2025 to 2094): correct it",
  scarab_window: "the time for which the node may use its number is over: renew the lease of the number, or lease another",
} as const satisfies Record<string, string>;

/** What was given out, by name: ranges, kept as they came, and judged at the end of each life. */

/** Values `first` to `first + count`, exclusive. */
export type Given = { readonly first: bigint; readonly count: number };

/** See the file's head. */
export class Ledger {
  /** Everything of earlier lives lies below. */
  readonly #ends = new Map<string, bigint>();
  readonly #life = new Map<string, Given[]>();
  /** How many values, how many of them twice, and how many of counters (`counter ...`) were skipped at the ends of lives. */
  given = 0n;
  duplicates = 0n;
  skipped = 0n;

  add(name: string, given: Given): void {
    const list = this.#life.get(name);
    if (list === undefined) this.#life.set(name, [given]);
    else list.push(given);
    this.given += BigInt(given.count);
  }

  /** Above the highest value of each counter of this name, one a directory. */
  endsOf(name: string): readonly bigint[] {
    return [...this.#ends].filter(([key]) => key.startsWith("counter") && key.endsWith(` ${name}`)).map(([, end]) => end);
  }

  /** Ends a life: none of its values may have come before, and none twice. */
  endLife(): void {
    for (const [name, list] of this.#life) {
      let end = this.#ends.get(name) ?? 0n;
      const begin = end;
      for (const [index, { first, count }] of list.toSorted((a, b) => (a.first < b.first ? -1 : 1)).entries()) {
        const last = first + BigInt(count);
        if (first < end) this.duplicates += (last < end ? last : end) - first;
        else if (index === 0 && begin > 0n && name.startsWith("counter")) this.skipped += first - end;
        if (last > end) end = last;
      }
      this.#ends.set(name, end);
    }
    this.#life.clear();
  }
}

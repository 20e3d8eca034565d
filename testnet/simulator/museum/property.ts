/** What a unit is, and how it says that a promise was broken. */

/** A seeded property: throws when it does not hold. */
export type Unit = (seed: number) => void | Promise<void>;

/** A promise was broken. `message` begins with the promise, in words that are the same for every seed. */
export class Broken extends Error {
  override readonly name = "Broken";
  readonly property: string;

  constructor(property: string, detail: string) {
    super(`${property}: ${detail}`);
    this.property = property;
  }
}

/** Throws `Broken` unless it holds. */
export function holds(isTrue: boolean, property: string, detail: () => string = () => ""): asserts isTrue {
  if (!isTrue) throw new Broken(property, detail());
}

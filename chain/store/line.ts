/** Tasks that are done one after another, in the order in which they were called for. */

/**
 * A task that nothing is ahead of begins before `run` returns. One that was called for before a task ahead of it failed is not
 * begun, and fails with the same: whoever called for it did not know.
 */
export class Line {
  #last: Promise<unknown> | undefined;

  /** What the task gives, when its turn has come and it is done. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const turn = before === undefined ? task() : before.then(task);
    this.#last = turn;
    try {
      return await turn;
    } finally {
      if (this.#last === turn) this.#last = undefined;
    }
  }

  /** Resolves when all that was called for is over. Of a failure hears whoever called for the task. */
  async over(): Promise<void> {
    await this.#last?.catch(() => undefined);
  }
}

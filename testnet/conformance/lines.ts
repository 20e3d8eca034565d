/** Splits a byte stream into lines without ever holding more than one line of the greatest length. */

/** A line without its end, or the fact that one was too long to keep. */
export type Line = { readonly kind: "line"; readonly bytes: Uint8Array } | { readonly kind: "tooLong" };

const NEWLINE = 0x0a;

/**
 * The lines of a stream, in order. What follows the last newline is a line too, unless it is empty.
 *
 * @param sizeBytesMax - longer lines are skipped up to their end, and reported once
 */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>, sizeBytesMax: number): AsyncGenerator<Line> {
  let parts: Uint8Array[] = [];
  let sizeBytes = 0;
  let isTooLong = false;
  const take = (part: Uint8Array): void => {
    sizeBytes += part.length;
    if (sizeBytes > sizeBytesMax) {
      isTooLong = true;
      parts = [];
    } else if (part.length > 0) parts.push(part);
  };
  const finish = (): Line => {
    const line: Line = isTooLong ? { kind: "tooLong" } : { kind: "line", bytes: Buffer.concat(parts) };
    [parts, sizeBytes, isTooLong] = [[], 0, false];
    return line;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      take(chunk.subarray(from, end));
      yield finish();
      from = end + 1;
    }
    take(chunk.subarray(from));
  }
  if (sizeBytes > 0) yield finish();
}

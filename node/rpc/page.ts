/**
 * The explorer's page as files of a directory that a build has filled (`testnet/explorer`), served below `/explorer/`.
 *
 * ```
 *   absent --a request, and the directory is there--> loaded, for as long as the server lives
 * ```
 *
 * Everything is read into memory once, bounded in count and size, so that no request names a path on the disk. What
 * stands beside a file as `.br` or `.gz` is what is sent to those who take it. Names of assets hold a hash of their
 * content, so they may be kept for ever; the page itself is asked for again each time.
 */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { codeOf, CodedError } from "../../crypto/base/error.ts";
import { toHex } from "../../crypto/base/bytes.ts";
import { blake3 } from "../../crypto/backend/blake3.ts";

/** More than the page has, and few enough to hold. */
const FILES_MAX = 64;
const SIZE_BYTES_MAX = 8 * 1024 * 1024;

const TYPES = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
  txt: "text/plain; charset=utf-8",
} as const;

const ENCODINGS = { br: ".br", gzip: ".gz" } as const;
type Encoding = keyof typeof ENCODINGS;

/** Name, extension, and how it is compressed. */
const NAME = /^([\w-]+\.(html|js|css|svg|txt))(\.br|\.gz)?$/;

/**
 * What the page may do. Scripts and styles come from this server and are files; WebAssembly is BLAKE3. It may ask any
 * node (`?rpc=`): it believes none, and has nothing to tell them.
 */
export const CONTENT_SECURITY_POLICY: string = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self' http: https: ws: wss:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

/** What answers one request. */
export type PageAnswer = {
  readonly status: 200 | 304 | 308 | 404 | 503;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
};

type PageFile = {
  readonly type: string;
  readonly isAsset: boolean;
  readonly tag: string;
  readonly bodies: ReadonlyMap<Encoding | "identity", Uint8Array>;
};

/** See the file's head. */
export class Page {
  readonly #directory: string;
  #files: Promise<ReadonlyMap<string, PageFile> | undefined> | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * Answers a GET of `path`, which begins with `/explorer`.
   *
   * @throws CodedError `page_too_large` when the directory holds more than a page has; what the disk failed with
   */
  async answer(
    path: string,
    asked: { readonly acceptEncoding: string; readonly ifNoneMatch: string | undefined },
  ): Promise<PageAnswer> {
    if (path === "/explorer") return { status: 308, headers: { Location: "/explorer/" }, body: new Uint8Array(0) };
    const files = await this.#load();
    if (files === undefined)
      return said(503, "The explorer is not built here. Run `npm run explorer` in the node's directory, and ask again.\n");
    const name = path.slice("/explorer/".length);
    const file = files.get(name === "" ? "index.html" : name);
    if (file === undefined) return said(404, "The explorer has no such file.\n");
    const encoding = chosen(file, asked.acceptEncoding);
    const body = file.bodies.get(encoding) ?? new Uint8Array(0);
    const tag = `"${file.tag}-${encoding}"`;
    const headers = {
      "Content-Type": file.type,
      ...(encoding === "identity" ? {} : { "Content-Encoding": encoding }),
      "Cache-Control": file.isAsset ? "public, max-age=31536000, immutable" : "no-cache",
      ETag: tag,
      Vary: "Origin, Accept-Encoding",
      "Content-Security-Policy": CONTENT_SECURITY_POLICY,
      "Referrer-Policy": "no-referrer",
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Resource-Policy": "same-origin",
    };
    return asked.ifNoneMatch === tag ? { status: 304, headers, body: new Uint8Array(0) } : { status: 200, headers, body };
  }

  /** The files, read once; a directory that is not there yet is looked for again with the next request. */
  async #load(): Promise<ReadonlyMap<string, PageFile> | undefined> {
    this.#files ??= read(this.#directory);
    try {
      const files = await this.#files;
      if (files === undefined) this.#files = undefined;
      return files;
    } catch (error) {
      this.#files = undefined;
      throw error;
    }
  }
}

async function read(directory: string): Promise<ReadonlyMap<string, PageFile> | undefined> {
  const found = await bodiesIn(directory, ["", "assets/"]);
  if (!found.has("index.html")) return undefined;
  const files = new Map<string, PageFile>();
  for (const [name, bodies] of found) {
    const plain = bodies.get("identity");
    const type = TYPES[name.slice(name.lastIndexOf(".") + 1) as keyof typeof TYPES];
    if (plain === undefined) continue;
    files.set(name, { type, isAsset: name.startsWith("assets/"), tag: toHex(blake3(plain)).slice(0, 32), bodies });
  }
  return files;
}

async function bodiesIn(
  directory: string,
  folders: readonly string[],
): Promise<ReadonlyMap<string, ReadonlyMap<Encoding | "identity", Uint8Array>>> {
  const found = new Map<string, Map<Encoding | "identity", Uint8Array>>();
  let [count, sizeBytes] = [0, 0];
  for (const folder of folders) {
    for (const entry of await namesIn(join(directory, folder))) {
      const [, name, , suffix] = NAME.exec(entry) ?? [];
      if (name === undefined) continue;
      const bytes = await readFile(join(directory, folder, entry));
      count += 1;
      sizeBytes += bytes.length;
      if (count > FILES_MAX || sizeBytes > SIZE_BYTES_MAX)
        throw new CodedError("page_too_large", { message: "the explorer's directory holds more than its page", directory });
      const encoding = suffix === ENCODINGS.br ? "br" : suffix === ENCODINGS.gzip ? "gzip" : "identity";
      const bodies = found.get(folder + name) ?? new Map<Encoding | "identity", Uint8Array>();
      bodies.set(encoding, bytes);
      found.set(folder + name, bodies);
    }
  }
  return found;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).toSorted();
  } catch (error) {
    // Not built yet: an ordinary state, which the answer tells of.
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** The best encoding that the file has and the asker takes. */
function chosen(file: PageFile, acceptEncoding: string): Encoding | "identity" {
  const taken = acceptEncoding
    .slice(0, 256)
    .toLowerCase()
    .split(",")
    .map((each) => each.trim().split(/\s*;\s*/));
  const takes = (name: Encoding): boolean =>
    file.bodies.has(name) && taken.some(([token, quality]) => token === name && !/^q=0(\.0*)?$/.test(quality ?? ""));
  if (takes("br")) return "br";
  return takes("gzip") ? "gzip" : "identity";
}

function said(status: 404 | 503, text: string): PageAnswer {
  const headers = { "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store" };
  return { status, headers, body: new TextEncoder().encode(text) };
}

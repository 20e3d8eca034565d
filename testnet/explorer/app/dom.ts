/**
 * Elements, made by function calls. Text only ever becomes text: nothing here takes HTML, and the content policy
 * (`require-trusted-types-for`) refuses whoever would.
 */

/** What may stand inside an element. `undefined` and `false` are nothing. */
export type Child = Node | string | number | bigint | undefined | false | readonly Child[];

/** Attributes by name; `true` is an empty one, `false` and `undefined` leave it out. `on` holds listeners. */
export type Attributes = {
  readonly on?: Listeners;
  readonly [name: string]: string | number | bigint | boolean | Listeners | undefined;
};

type Listeners = { readonly [event: string]: (event: Event) => void };

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** An HTML element. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  describe(element, attributes);
  append(element, children);
  return element;
}

/** An SVG element. */
export function s<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS(SVG_NAMESPACE, tag);
  describe(element, attributes);
  append(element, children);
  return element;
}

/** Puts these children in the place of those that are there. */
export function fill(parent: Element, ...children: readonly Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

/** What one can go to with a keyboard. */
const FOCUSABLE = "a[href], button, summary, input, [tabindex]";

/**
 * As `fill`, for what is drawn again and again: whoever is at a link or has opened a badge in there stays at the one in its
 * place.
 */
export function refill(parent: Element, ...children: readonly Child[]): void {
  const active = document.activeElement;
  const focused = active !== null && parent.contains(active) ? [...parent.querySelectorAll(FOCUSABLE)].indexOf(active) : -1;
  const href = focused === -1 ? null : (active?.getAttribute("href") ?? null);
  const opened = [...parent.querySelectorAll("details")].map(({ open }) => open);
  fill(parent, ...children);
  for (const [index, details] of parent.querySelectorAll("details").entries()) details.open = opened[index] === true;
  if (focused === -1) return;
  const found = [...parent.querySelectorAll<HTMLElement>(FOCUSABLE)];
  const next = found.find((element) => href !== null && element.getAttribute("href") === href) ?? found[focused];
  next?.focus({ preventScroll: true });
}

/** The element of the page with this id, which the page's HTML has. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

function describe(element: Element, { on, ...attributes }: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false || typeof value === "object") continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [event, listener] of Object.entries(on ?? {})) element.addEventListener(event, listener);
}

function append(parent: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (child === undefined || child === false) continue;
    if (isList(child)) append(parent, child);
    else parent.append(child instanceof Node ? child : String(child));
  }
}

/** `Array.isArray` does not know lists that may not be written to. */
function isList(child: Child): child is readonly Child[] {
  return Array.isArray(child);
}

/** What people read about the configuration, generated from the schema: the default file and the reference. */

import { stringify } from "smol-toml";
import { describeSection, KEYS, SECTIONS, type Config, type KeyDescription, type SectionName } from "./schema.ts";

/** Values to write instead of defaults, by section and key. */
export type Overrides = { readonly [Section in SectionName]?: Partial<Config[Section]> };

/**
 * The text of a `config.toml`: every key with its description; those that keep their default are commented out, so
 * that a later version's better default takes effect.
 */
export function configText(overrides: Overrides = {}): string {
  const sections = sectionNames().map((section) => {
    const chosen: { readonly [key: string]: unknown } = overrides[section] ?? {};
    const lines = KEYS.filter((each) => each.section === section).map((each) => keyLines(each, chosen[each.key]));
    return `# ${describeSection(section)}\n[${section}]\n${lines.join("\n")}`;
  });
  return `# Configuration of one Pyralog node. Every key is optional.\n# Overridden by PYRALOG_<SECTION>_<KEY> in the environment; see: pyralog config reference\n\n${sections.join("\n")}`;
}

/** The reference, as a page of Markdown. */
export function configReference(): string {
  const sections = sectionNames().map((section) => {
    const rows = KEYS.filter((each) => each.section === section).map(
      (each) =>
        `| \`${each.key}\` | ${each.kind} | \`${inline(each.defaultValue)}\` | ${each.allowed} | \`${each.environment}\` | ${each.description} |`,
    );
    return `## ${section}\n\n${describeSection(section)}\n\n| key | kind | default | allowed | environment | what it does |\n| --- | --- | --- | --- | --- | --- |\n${rows.join("\n")}\n`;
  });
  return `# Configuration\n\n${sections.join("\n")}`;
}

/** A configuration written out in full, as TOML. */
export function configToml(config: Config): string {
  return stringify(config);
}

function keyLines(description: KeyDescription, chosen: unknown): string {
  const allowed = description.allowed === "" ? "" : ` (${description.allowed})`;
  const comment = `# ${description.description}${allowed}\n`;
  if (chosen === undefined) return `${comment}# ${description.key} = ${inline(description.defaultValue)}\n`;
  return `${comment}${description.key} = ${inline(chosen)}\n`;
}

function inline(value: unknown): string {
  const line = stringify({ value }).trimEnd();
  return line.slice("value = ".length);
}

function sectionNames(): readonly SectionName[] {
  return Object.keys(SECTIONS) as SectionName[];
}

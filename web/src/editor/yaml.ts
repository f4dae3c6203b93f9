// Writing YAML, and telling its parts apart for colours. Reading it is the server's.

export type Json = null | boolean | number | string | Json[] | { [k: string]: Json | undefined };

const first = ["apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "host", "hosts", "gateways", "match", "destination", "spec"];

/** Whether a text would be read as something else, or not at all, without quotes. */
function plain(s: string): boolean {
  return /^[A-Za-z_/.][\w\-./ +@]*$/.test(s) && !/\s$/.test(s) && !/^(true|false|null|yes|no|on|off|y|n|\.inf|\.nan|~)$/i.test(s) && !/^\.?\d/.test(s);
}

function scalar(v: null | boolean | number | string): string {
  if (typeof v !== "string") return String(v);
  return plain(v) ? v : /[\\\n\t\x00-\x1f]/.test(v) ? JSON.stringify(v) : `'${v.replaceAll("'", "''")}'`;
}

function keysOf(o: { [k: string]: Json | undefined }): string[] {
  const at = (k: string) => { const i = first.indexOf(k); return i < 0 ? first.length : i; };
  return Object.keys(o).filter((k) => o[k] !== undefined).sort((a, b) => at(a) - at(b) || (at(a) === first.length ? 0 : 0));
}

function lines(v: Json, indent: string): string[] {
  if (Array.isArray(v)) {
    return v.flatMap((item) => {
      if (empty(item) !== undefined) return [`${indent}- ${empty(item)}`];
      const inner = lines(item, indent + "  ");
      return [`${indent}- ${inner[0]!.slice(indent.length + 2)}`, ...inner.slice(1)];
    });
  }
  const o = v as { [k: string]: Json | undefined };
  return keysOf(o).flatMap((k) => {
    const value = o[k]!;
    const key = plain(k) ? k : scalar(k);
    const short = empty(value);
    if (short !== undefined) return [`${indent}${key}: ${short}`];
    if (typeof value === "string" && value.includes("\n") && !/[\x00-\x08\r\t]/.test(value) && !/^\s/.test(value)) {
      const body = value.replace(/\n$/, "").split("\n").map((l) => (l ? `${indent}  ${l}` : ""));
      return [`${indent}${key}: |${value.endsWith("\n") ? "" : "-"}`, ...body];
    }
    return [`${indent}${key}:`, ...lines(value, Array.isArray(value) ? indent : indent + "  ")];
  });
}

/** The form in one line of what has one. */
function empty(v: Json): string | undefined {
  if (v === null || typeof v === "boolean" || typeof v === "number") return String(v);
  if (typeof v === "string") return v.includes("\n") && !/[\x00-\x08\r\t]/.test(v) && !/^\s/.test(v) ? undefined : scalar(v);
  if (Array.isArray(v)) return v.length === 0 ? "[]" : undefined;
  return keysOf(v).length === 0 ? "{}" : undefined;
}

/** Writes a value as YAML. */
export function toYAML(v: Json): string {
  const short = empty(v);
  if (short !== undefined) return short + "\n";
  if (typeof v === "string") return JSON.stringify(v) + "\n";
  return lines(v, "").join("\n") + "\n";
}

/** Several documents in one text. */
export const documents = (list: Json[]) => list.map(toYAML).join("---\n");

export interface Part { text: string; class: "" | "key" | "string" | "number" | "comment" | "mark" }

/** The parts of one line. */
export function parts(line: string): Part[] {
  const out: Part[] = [];
  let rest = line;
  const lead = /^(\s*(?:- +)*(?:-$)?)/.exec(rest)?.[0] ?? "";
  if (lead) { out.push({ text: lead, class: lead.includes("-") ? "mark" : "" }); rest = rest.slice(lead.length); }
  if (/^(---|\.\.\.)/.test(rest)) return [...out, { text: rest, class: "mark" }];
  const key = /^("[^"]*"|'[^']*'|[^\s#:'"[{][^#:]*?)(:)(?=\s|$)/.exec(rest);
  if (key) {
    out.push({ text: key[1]!, class: "key" }, { text: ":", class: "mark" });
    rest = rest.slice(key[0].length);
  }
  const comment = /(^|\s)#.*$/.exec(rest.replace(/"[^"]*"|'[^']*'/g, (s) => "_".repeat(s.length)));
  const tail = comment ? rest.slice(comment.index) : "";
  const value = comment ? rest.slice(0, comment.index) : rest;
  if (value) {
    const v = value.trim();
    out.push({ text: value, class: /^-?\d+(\.\d+)?(s|ms|m|h|%)?$/.test(v) || /^(true|false|null)$/.test(v) ? "number" : v ? "string" : "" });
  }
  if (tail) out.push({ text: tail, class: "comment" });
  return out;
}

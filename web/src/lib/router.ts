// The address after "#" names the page and its settings, so that every state of the
// console can be linked and the server needs to know of no page.
import { computed, signal } from "@preact/signals";

function read(): { path: string[]; query: URLSearchParams } {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

const current = signal(read());
addEventListener("hashchange", () => (current.value = read()));

/** Segments of the page's path. */
export const path = computed(() => current.value.path);

/** One parameter of the address; "" if it is not there. */
export function param(name: string): string {
  return current.value.query.get(name) ?? "";
}

/** Parameters that stay with the user from page to page. */
const lasting = ["ns", "range"];

/** The address of a page. */
export function href(segments: string[], query: Record<string, string | undefined> = {}): string {
  const q = new URLSearchParams();
  for (const k of lasting) {
    const v = current.value.query.get(k);
    if (v) q.set(k, v);
  }
  for (const [k, v] of Object.entries(query)) {
    if (v) q.set(k, v);
    else q.delete(k);
  }
  const text = q.toString();
  return "#/" + segments.map(encodeURIComponent).join("/") + (text ? "?" + text : "");
}

/** Goes to a page. */
export function go(segments: string[], query: Record<string, string | undefined> = {}) {
  location.hash = href(segments, query);
}

/** Changes parameters of this page without a step in the history. */
export function setParams(values: Record<string, string | undefined>) {
  const q = new URLSearchParams(current.value.query);
  for (const [k, v] of Object.entries(values)) {
    if (v) q.set(k, v);
    else q.delete(k);
  }
  const text = q.toString();
  history.replaceState(null, "", "#/" + current.value.path.map(encodeURIComponent).join("/") + (text ? "?" + text : ""));
  current.value = read();
}

import { signal } from "@preact/signals";
import { Icon } from "./icons";

interface Toast { id: number; tone: "ok" | "bad" | ""; text: string }
const shown = signal<Toast[]>([]);
let next = 1;

/** Says something for some seconds; a mistake stays longer. */
export function say(text: string, tone: Toast["tone"] = "") {
  const t = { id: next++, tone, text };
  shown.value = [...shown.value, t];
  setTimeout(() => (shown.value = shown.value.filter((x) => x !== t)), tone === "bad" ? 9000 : 4500);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.value.map((t) => (
        <div key={t.id} class={"toast " + t.tone}><Icon name={t.tone === "bad" ? "alert" : "check"} /><span>{t.text}</span></div>
      ))}
    </div>
  );
}

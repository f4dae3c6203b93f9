// An editor for YAML: a text area over coloured text, so that the browser's own
// editing, undo and accessibility work; line numbers with marks of mistakes.
import { useId, useRef } from "preact/hooks";
import type { Problem } from "../api/types";
import { parts } from "./yaml";

interface Props { label: string; value: string; onInput: (v: string) => void; marks?: (Problem & { warning?: boolean })[]; readOnly?: boolean; rows?: number }

export function Coloured({ text }: { text: string }) {
  return <>{text.split("\n").map((l, i) => <span key={i} class="cl">{parts(l).map((p, k) => (p.class ? <i key={k} class={"c-" + p.class}>{p.text}</i> : p.text))}{"\n"}</span>)}</>;
}

export function Editor({ label, value, onInput, marks = [], readOnly, rows = 24 }: Props) {
  const back = useRef<HTMLPreElement>(null);
  const gutter = useRef<HTMLDivElement>(null);
  const free = useRef(false); // Escape was pressed: the next Tab leaves the editor
  const help = useId();
  const lines = value.split("\n");
  const byLine = new Map(marks.filter((m) => m.line).map((m) => [m.line!, m]));
  const key = (e: KeyboardEvent & { currentTarget: HTMLTextAreaElement }) => {
    const t = e.currentTarget;
    if (e.key === "Escape") { free.current = true; return; }
    if (e.key === "Tab" && !free.current && !readOnly && !e.ctrlKey && !e.altKey) {
      e.preventDefault();
      indent(t, e.shiftKey);
      onInput(t.value);
    } else if (e.key === "Enter" && !readOnly) {
      const before = t.value.slice(0, t.selectionStart);
      const line = before.slice(before.lastIndexOf("\n") + 1);
      const lead = /^\s*(?:- )?/.exec(line)![0].replace("-", " ");
      const more = /:\s*$/.test(line) ? "  " : "";
      if (lead || more) {
        e.preventDefault();
        t.setRangeText("\n" + lead + more, t.selectionStart, t.selectionEnd, "end");
        onInput(t.value);
      }
    }
    free.current = false;
  };
  const sync = (e: { currentTarget: HTMLTextAreaElement }) => {
    const t = e.currentTarget;
    if (back.current) back.current.style.transform = `translate(${-t.scrollLeft}px,${-t.scrollTop}px)`;
    if (gutter.current) gutter.current.style.transform = `translateY(${-t.scrollTop}px)`;
  };
  return (
    <div class={"editor" + (readOnly ? " readonly" : "")} style={`--rows:${rows}`}>
      <div class="gutter" aria-hidden="true"><div ref={gutter}>{lines.map((_, i) => { const m = byLine.get(i + 1); return <span key={i} class={m ? (m.warning ? "warn" : "bad") : ""} title={m?.message}>{i + 1}</span>; })}</div></div>
      <div class="area">
        <pre ref={back} aria-hidden="true">{lines.map((l, i) => { const m = byLine.get(i + 1); return <span key={i} class={"cl" + (m ? (m.warning ? " warn" : " bad") : "")}>{parts(l).map((p, k) => (p.class ? <i key={k} class={"c-" + p.class}>{p.text}</i> : p.text))}{"\n"}</span>; })}</pre>
        <textarea value={value} readOnly={readOnly} spellcheck={false} autocomplete="off" autocapitalize="off" wrap="off" aria-label={label} aria-describedby={help} aria-invalid={marks.some((m) => !m.warning)}
          onInput={(e) => onInput(e.currentTarget.value)} onKeyDown={key} onScroll={sync} />
      </div>
      <span id={help} class="sr">Tab indents. To leave the editor press Escape, then Tab.</span>
    </div>
  );
}

/** Moves the selected lines, or puts two spaces at the caret. */
function indent(t: HTMLTextAreaElement, out: boolean) {
  const start = t.value.lastIndexOf("\n", t.selectionStart - 1) + 1;
  if (t.selectionStart === t.selectionEnd && !out) {
    t.setRangeText("  ", t.selectionStart, t.selectionEnd, "end");
    return;
  }
  const text = t.value.slice(start, t.selectionEnd);
  const moved = text.split("\n").map((l) => (out ? l.replace(/^ {1,2}/, "") : "  " + l)).join("\n");
  t.setRangeText(moved, start, t.selectionEnd, "select");
}

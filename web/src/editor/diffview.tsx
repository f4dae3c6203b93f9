import { diff, hunks } from "./diff";

/** What would change in a text. */
export function DiffView({ before, after, label }: { before: string; after: string; label: string }) {
  const all = diff(before, after);
  const changed = all.some((l) => l.kind !== "same");
  if (!changed) return <p class="muted small">No difference.</p>;
  const mark = { add: "+", drop: "−", same: " " };
  return (
    <div class="diff" role="region" aria-label={label} tabIndex={0}>
      {hunks(all).map((l, i) => (l === null ? <div key={i} class="gap">⋯</div> : (
        <div key={i} class={l.kind}>
          <span class="n" aria-hidden="true">{l.old ?? ""}</span><span class="n" aria-hidden="true">{l.new ?? ""}</span>
          <span class="m">{mark[l.kind]}</span><span class="t">{l.text}</span>
        </div>
      )))}
    </div>
  );
}

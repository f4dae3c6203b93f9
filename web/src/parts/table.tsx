import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Icon } from "./icons";

export interface Column<T> {
  key: string;
  title: string;
  num?: boolean;
  /** What the column is sorted by; none: it is not sorted. */
  by?: (row: T) => string | number;
  cell: (row: T) => ComponentChildren;
}

/** A table whose columns sort on a click. */
export function Table<T>({ caption, columns, rows, id, first }: { caption: string; columns: Column<T>[]; rows: T[]; id: (row: T) => string; first?: string }) {
  const [sort, setSort] = useState<{ key: string; down: boolean }>({ key: first ?? "", down: false });
  const column = columns.find((c) => c.key === sort.key);
  const by = column?.by;
  const sorted = by
    ? [...rows].sort((a, b) => {
        const x = by(a), y = by(b);
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
        return sort.down ? -order : order;
      })
    : rows;
  return (
    <div class="tablewrap" tabIndex={0} role="region" aria-label={caption}>
      <table class="table">
        <caption class="sr">{caption}</caption>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.key} scope="col" class={c.num ? "num" : ""} aria-sort={sort.key === c.key ? (sort.down ? "descending" : "ascending") : undefined}>
                {c.by ? (
                  <button type="button" onClick={() => setSort({ key: c.key, down: sort.key === c.key ? !sort.down : !!c.num })}>
                    {c.title}{sort.key === c.key && <span aria-hidden="true">{sort.down ? "↓" : "↑"}</span>}
                  </button>
                ) : c.title || <span class="sr">Actions</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.map((r) => (
            <tr key={id(r)}>{columns.map((c) => <td key={c.key} class={c.num ? "num" : ""}>{c.cell(r)}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Opens and closes what belongs to a heading. */
export function Fold({ title, open: first = false, children }: { title: ComponentChildren; open?: boolean; children: ComponentChildren }) {
  const [open, setOpen] = useState(first);
  return (
    <div class={"fold" + (open ? " open" : "")}>
      <button type="button" class="foldhead" aria-expanded={open} onClick={() => setOpen(!open)}><Icon name="chevron" size={12} />{title}</button>
      {open && <div class="foldbody">{children}</div>}
    </div>
  );
}

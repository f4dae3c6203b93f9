// Small parts that every page uses.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { Health } from "../api/types";
import type { Refusal } from "../api/client";
import { Icon, type IconName } from "./icons";

export type Tone = "ok" | "warn" | "bad" | "info" | "";

export const healthTone: Record<Health, Tone | "idle"> = { healthy: "ok", degraded: "warn", failing: "bad", idle: "idle", unknown: "idle" };
const healthWord: Record<Health, string> = { healthy: "Healthy", degraded: "Degraded", failing: "Failing", idle: "Idle", unknown: "Unknown" };

/** A health as a dot with its word. */
export function HealthMark({ health, bare }: { health: Health; bare?: boolean }) {
  return (
    <span class="row nowrap" style="gap:7px" title={healthWord[health]}>
      <i class={"dot " + healthTone[health]} />
      <span class={bare ? "sr" : ""}>{healthWord[health]}</span>
    </span>
  );
}

export function Badge({ tone = "", icon, title, children }: { tone?: Tone; icon?: IconName; title?: string; children: ComponentChildren }) {
  return <span class={"badge " + tone} title={title}>{icon && <Icon name={icon} size={12} />}{children}</span>;
}

const verdictTone: Record<string, Tone> = {
  Effective: "ok", Invalid: "bad", Unsupported: "bad", Shadowed: "warn", SelectsNothing: "warn", Differs: "warn", Waiting: "info", NotActedOn: "warn",
};
const verdictWord: Record<string, string> = {
  Effective: "In force", Invalid: "Invalid", Unsupported: "Unsupported", Shadowed: "Shadowed", SelectsNothing: "Selects nothing", Differs: "Differs", Waiting: "Waiting", NotActedOn: "Not acted on",
};

/** A verdict on an object; the list of details may hold several. */
export function Verdict({ code }: { code: string }) {
  const tone = verdictTone[code] ?? "";
  return <Badge tone={tone} icon={tone === "ok" ? "check" : tone === "info" ? "clock" : "alert"}>{verdictWord[code] ?? code}</Badge>;
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} size={34} />
      <strong>{title}</strong>
      {children}
    </div>
  );
}

export function Notice({ tone = "info", children }: { tone?: "info" | "bad" | "warn" | "ok"; children: ComponentChildren }) {
  return (
    <div class={"notice " + (tone === "info" ? "" : tone)} role={tone === "bad" ? "alert" : "status"}>
      <Icon name={tone === "ok" ? "check" : tone === "info" ? "info" : "alert"} />
      <div class="grow">{children}</div>
    </div>
  );
}

/** What a page shows while it has nothing: why not, or that it is coming. */
export function Pending({ error, what }: { error?: Refusal; what: string }) {
  if (error) {
    return <Empty icon="alert" title={error.status === 404 ? `There is no ${what}` : `The ${what} could not be read`}><p>{error.message}</p></Empty>;
  }
  return (
    <div class="stack" aria-busy="true" aria-label={`Reading the ${what}`}>
      <div class="skeleton" style="height:84px" />
      <div class="skeleton" style="height:220px" />
    </div>
  );
}

/** A choice of few, shown side by side. */
export function Segments<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: [T, string][]; onChange: (v: T) => void }) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {options.map(([v, text]) => (
        <button key={v} type="button" aria-pressed={v === value} onClick={() => onChange(v)}>{text}</button>
      ))}
    </div>
  );
}

/** Tabs by the rules of ARIA: arrow keys move, the panel follows. */
export function Tabs<T extends string>({ label, value, tabs, onChange, children }: { label: string; value: T; tabs: [T, ComponentChildren][]; onChange: (v: T) => void; children: ComponentChildren }) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const move = (e: KeyboardEvent) => {
    const step = e.key === "ArrowRight" ? 1 : e.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    e.preventDefault();
    const i = (tabs.findIndex(([v]) => v === value) + step + tabs.length) % tabs.length;
    onChange(tabs[i]![0]);
    (list.current?.children[i] as HTMLElement | undefined)?.focus();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={move}>
        {tabs.map(([v, text]) => (
          <button key={v} type="button" role="tab" id={`${id}-${v}`} aria-selected={v === value} aria-controls={`${id}-panel`} tabIndex={v === value ? 0 : -1} onClick={() => onChange(v)}>{text}</button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${value}`} tabIndex={-1}>{children}</div>
    </>
  );
}

/** A button that opens a small surface; Escape and a click elsewhere close it. */
export function Menu({ label, icon, left, children, text }: { label: string; icon?: IconName; left?: boolean; text?: ComponentChildren; children: (close: () => void) => ComponentChildren }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const outside = (e: Event) => { if (!box.current?.contains(e.target as Node)) setOpen(false); };
    const escape = (e: KeyboardEvent) => {
      if (e.key !== "Escape") return;
      setOpen(false);
      box.current?.querySelector("button")?.focus();
    };
    addEventListener("pointerdown", outside);
    addEventListener("keydown", escape);
    return () => { removeEventListener("pointerdown", outside); removeEventListener("keydown", escape); };
  }, [open]);
  return (
    <div class="menu" ref={box}>
      <button type="button" class={"button" + (text ? "" : " icon")} aria-expanded={open} aria-label={text ? undefined : label} title={label} onClick={() => setOpen(!open)}>
        {icon && <Icon name={icon} />}{text}{text && <Icon name="down" size={12} />}
      </button>
      {open && <div class={"pop" + (left ? " left" : "")}>{children(() => setOpen(false))}</div>}
    </div>
  );
}

/** A modal dialogue; the browser keeps the focus inside. */
export function Sheet({ title, small, onClose, children, footer }: { title: string; small?: boolean; onClose: () => void; children: ComponentChildren; footer?: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    ref.current?.showModal();
    return () => ref.current?.close();
  }, []);
  return (
    <dialog ref={ref} class={"sheet" + (small ? " small" : "")} aria-labelledby={id} onCancel={(e) => { e.preventDefault(); onClose(); }}>
      <header class="row">
        <h2 id={id} class="grow">{title}</h2>
        <button type="button" class="button quiet icon" aria-label="Close" onClick={onClose}><Icon name="close" /></button>
      </header>
      <div class="body" tabIndex={-1}>{children}</div>
      {footer && <footer>{footer}</footer>}
    </dialog>
  );
}

export function Search({ label, value, onInput, placeholder }: { label: string; value: string; onInput: (v: string) => void; placeholder?: string }) {
  return (
    <label class="searchbox">
      <span class="sr">{label}</span>
      <Icon name="search" size={14} />
      <input type="search" value={value} placeholder={placeholder ?? label} onInput={(e) => onInput(e.currentTarget.value)} />
    </label>
  );
}

// The wizards' forms. Each tells its result when it changes: the objects to apply, or
// what is still missing.
import type { ComponentChildren, FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Notice } from "../parts/basics";
import type { WizardKind } from "./open";
import { breaker, byHeader, fault, mirror, patience, shift, weightsOf, type Resource, type StringMatch } from "./rules";
import type { Loaded } from "./subject";

interface FormProps { loaded: Loaded; onChange: (r: Resource[] | string) => void }

function useResult(onChange: FormProps["onChange"], make: () => Resource[] | string, depends: unknown[]) {
  useEffect(() => onChange(make()), depends);
}

function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }) {
  return <label class="field"><span>{label}{hint && <span class="hint"> {hint}</span>}</span>{children}</label>;
}

function NumberField({ label, hint, value, min = 0, max, onChange }: { label: string; hint?: string; value: number; min?: number; max?: number; onChange: (n: number) => void }) {
  return <Field label={label} hint={hint}><input type="number" value={value} min={min} max={max} onInput={(e) => { const n = Number(e.currentTarget.value); if (!Number.isNaN(n)) onChange(n); }} /></Field>;
}

function TextField({ label, hint, value, placeholder, onChange }: { label: string; hint?: string; value: string; placeholder?: string; onChange: (v: string) => void }) {
  return <Field label={label} hint={hint}><input type="text" value={value} placeholder={placeholder} onInput={(e) => onChange(e.currentTarget.value.trim())} /></Field>;
}

function Kept({ loaded, rule }: { loaded: Loaded; rule?: boolean }) {
  const o = rule ? loaded.subject.destinationRule : loaded.subject.virtualService;
  return (
    <p class="small muted">
      {o ? <>The {o.kind} <strong>{String(o.metadata["name"])}</strong> is changed; everything else in it stays.</> : <>A {rule ? "DestinationRule" : "VirtualService"} <strong>{loaded.subject.name}</strong> is made.</>}
    </p>
  );
}

const NoVersions = () => <Notice tone="warn">The pods of this service have no label <code>version</code>: there is nothing to choose between.</Notice>;

function Shift({ loaded, onChange }: FormProps) {
  const { subject } = loaded;
  const [weights, setWeights] = useState(() => weightsOf(subject));
  const total = [...weights.values()].reduce((a, b) => a + b, 0);
  useResult(onChange, () => (subject.versions.length === 0 ? "There are no versions." : total !== 100 ? `The weights add up to ${total}, not to 100.` : shift(subject, weights)), [weights]);
  if (subject.versions.length === 0) return <NoVersions />;
  /** What one gains the others lose, in proportion. */
  const set = (version: string, w: number) => {
    w = Math.max(0, Math.min(100, Math.round(w)));
    const others = subject.versions.filter((v) => v !== version);
    const rest = others.reduce((n, v) => n + (weights.get(v) ?? 0), 0);
    const next = new Map(weights).set(version, w);
    let left = 100 - w;
    others.forEach((v, i) => {
      const part = i === others.length - 1 ? left : Math.min(left, Math.round(rest > 0 ? ((weights.get(v) ?? 0) / rest) * (100 - w) : (100 - w) / others.length));
      next.set(v, part);
      left -= part;
    });
    setWeights(new Map(subject.versions.map((v) => [v, next.get(v) ?? 0])));
  };
  return (
    <>
      <div class="weights">
        {subject.versions.map((v) => (
          <div key={v} class="one">
            <strong id={"w-" + v}>{v}</strong>
            <input type="range" min={0} max={100} value={weights.get(v)} aria-labelledby={"w-" + v} onInput={(e) => set(v, Number(e.currentTarget.value))} />
            <label class="row" style="gap:4px"><span class="sr">Per cent for {v}</span><input type="number" min={0} max={100} value={weights.get(v)} data-weight={v} onChange={(e) => set(v, Number(e.currentTarget.value))} /><span class="muted" aria-hidden="true">%</span></label>
          </div>
        ))}
      </div>
      <Kept loaded={loaded} />
    </>
  );
}

function MatchFields({ match, onChange }: { match: StringMatch; onChange: (m: StringMatch) => void }) {
  return (
    <div class="twocol">
      <Field label="Is compared"><select value={match.kind} onChange={(e) => onChange({ ...match, kind: e.currentTarget.value as StringMatch["kind"] })}><option value="exact">exactly</option><option value="prefix">by its beginning</option><option value="regex">as a regular expression</option></select></Field>
      <TextField label="Value" value={match.value} placeholder="jason" onChange={(value) => onChange({ ...match, value })} />
    </div>
  );
}

function VersionField({ label, loaded, value, onChange }: { label: string; loaded: Loaded; value: string; onChange: (v: string) => void }) {
  return <Field label={label}><select value={value} onChange={(e) => onChange(e.currentTarget.value)}>{loaded.subject.versions.map((v) => <option key={v} value={v}>{v}</option>)}</select></Field>;
}

function Header({ loaded, onChange }: FormProps) {
  const { subject } = loaded;
  const [name, setName] = useState("end-user");
  const [match, setMatch] = useState<StringMatch>({ kind: "exact", value: "" });
  const [version, setVersion] = useState(subject.versions.at(-1) ?? "");
  useResult(onChange, () => (!version ? "There are no versions." : !name || !match.value ? "Name the header and its value." : byHeader(subject, name, match, version)), [name, match, version]);
  if (subject.versions.length === 0) return <NoVersions />;
  return (
    <>
      <TextField label="Header" value={name} onChange={setName} />
      <MatchFields match={match} onChange={setMatch} />
      <VersionField label="Goes to version" loaded={loaded} value={version} onChange={setVersion} />
      <p class="small muted">The new route comes before the others.</p>
      <Kept loaded={loaded} />
    </>
  );
}

function Faults({ loaded, onChange }: FormProps) {
  const { subject } = loaded;
  const [abort, setAbort] = useState(true);
  const [status, setStatus] = useState(503);
  const [abortShare, setAbortShare] = useState(50);
  const [delay, setDelay] = useState(false);
  const [fixed, setFixed] = useState("2s");
  const [delayShare, setDelayShare] = useState(100);
  const [narrow, setNarrow] = useState(false);
  const [name, setName] = useState("end-user");
  const [match, setMatch] = useState<StringMatch>({ kind: "exact", value: "" });
  useResult(onChange, () => {
    if (abort && (status < 200 || status > 599)) return "The status lies between 200 and 599.";
    if (narrow && (!name || !match.value)) return "Name the header and its value.";
    return fault(subject, {
      abort: abort ? { percent: abortShare, status } : undefined,
      delay: delay ? { percent: delayShare, fixed } : undefined,
      header: narrow ? { name, match } : undefined,
    });
  }, [abort, status, abortShare, delay, fixed, delayShare, narrow, name, match]);
  return (
    <>
      <fieldset class="stack tight">
        <legend class="sr">Errors</legend>
        <label class="check"><input type="checkbox" checked={abort} onChange={(e) => setAbort(e.currentTarget.checked)} /><strong>Answer with an error</strong></label>
        {abort && <div class="twocol"><NumberField label="Status" value={status} min={200} max={599} onChange={setStatus} /><NumberField label="Share of requests, %" value={abortShare} max={100} onChange={setAbortShare} /></div>}
      </fieldset>
      <fieldset class="stack tight">
        <legend class="sr">Delay</legend>
        <label class="check"><input type="checkbox" checked={delay} onChange={(e) => setDelay(e.currentTarget.checked)} /><strong>Delay</strong></label>
        {delay && <div class="twocol"><TextField label="By" value={fixed} onChange={setFixed} /><NumberField label="Share of requests, %" value={delayShare} max={100} onChange={setDelayShare} /></div>}
      </fieldset>
      <fieldset class="stack tight">
        <legend class="sr">For whom</legend>
        <label class="check"><input type="checkbox" checked={narrow} onChange={(e) => setNarrow(e.currentTarget.checked)} /><strong>Only requests with a header</strong></label>
        {narrow && <><TextField label="Header" value={name} onChange={setName} /><MatchFields match={match} onChange={setMatch} /></>}
      </fieldset>
      {!abort && !delay && <Notice>Neither is chosen: applying takes the service's faults away.</Notice>}
      <Kept loaded={loaded} />
    </>
  );
}

const conditions = ["5xx", "gateway-error", "connect-failure", "refused-stream", "reset", "retriable-4xx", "unavailable"];

function Timeouts({ loaded, onChange }: FormProps) {
  const [timeout, setTimeoutText] = useState("5s");
  const [attempts, setAttempts] = useState(2);
  const [perTry, setPerTry] = useState("2s");
  const [on, setOn] = useState<string[]>(["connect-failure", "refused-stream", "unavailable"]);
  useResult(onChange, () => (attempts < 0 ? "A number of retries is not negative." : patience(loaded.subject, { timeout, attempts, perTry: attempts > 0 ? perTry : "", on: attempts > 0 ? on.join(",") : "" })), [timeout, attempts, perTry, on]);
  return (
    <>
      <TextField label="Time-out of the whole request" hint="empty: none" value={timeout} onChange={setTimeoutText} />
      <div class="twocol"><NumberField label="Retries" value={attempts} max={20} onChange={setAttempts} /><TextField label="Time-out of each try" value={perTry} onChange={setPerTry} /></div>
      {attempts > 0 && (
        <fieldset class="field">
          <legend>Try again after</legend>
          <div class="twocol">{conditions.map((c) => <label key={c} class="check"><input type="checkbox" checked={on.includes(c)} onChange={() => setOn(on.includes(c) ? on.filter((x) => x !== c) : [...on, c])} /><code>{c}</code></label>)}</div>
        </fieldset>
      )}
      <Kept loaded={loaded} />
    </>
  );
}

function Mirrors({ loaded, onChange }: FormProps) {
  const { subject } = loaded;
  const [version, setVersion] = useState(subject.versions.at(-1) ?? "");
  const [percent, setPercent] = useState(100);
  useResult(onChange, () => (!version ? "There are no versions." : mirror(subject, version, percent)), [version, percent]);
  if (subject.versions.length === 0) return <NoVersions />;
  return (
    <>
      <VersionField label="Copies go to version" loaded={loaded} value={version} onChange={setVersion} />
      <NumberField label="Share of requests, %" hint="0 ends the mirroring" value={percent} max={100} onChange={setPercent} />
      <p class="small muted">Answers to copies are thrown away; callers notice nothing.</p>
      <Kept loaded={loaded} />
    </>
  );
}

function Breakers({ loaded, onChange }: FormProps) {
  const [b, set] = useState({ maxConnections: 100, maxPending: 64, maxRequests: 256, consecutive5xx: 5, interval: "10s", baseEjection: "30s", maxEjected: 50 });
  useResult(onChange, () => breaker(loaded.subject, b), [b]);
  return (
    <>
      <div class="threecol">
        <NumberField label="Connections" value={b.maxConnections} min={1} onChange={(maxConnections) => set({ ...b, maxConnections })} />
        <NumberField label="Waiting requests" value={b.maxPending} min={1} onChange={(maxPending) => set({ ...b, maxPending })} />
        <NumberField label="Requests at a time" value={b.maxRequests} min={1} onChange={(maxRequests) => set({ ...b, maxRequests })} />
      </div>
      <p class="small muted">Bounds of each calling proxy; what goes beyond is answered with 503 (flag UO).</p>
      <div class="twocol">
        <NumberField label="Rest after so many 5xx in a row" value={b.consecutive5xx} onChange={(consecutive5xx) => set({ ...b, consecutive5xx })} />
        <NumberField label="Of the endpoints rest at most, %" value={b.maxEjected} max={100} onChange={(maxEjected) => set({ ...b, maxEjected })} />
        <TextField label="Looked at every" value={b.interval} onChange={(interval) => set({ ...b, interval })} />
        <TextField label="First rest" value={b.baseEjection} onChange={(baseEjection) => set({ ...b, baseEjection })} />
      </div>
      <Kept loaded={loaded} rule />
    </>
  );
}

export const forms: Record<WizardKind, FunctionComponent<FormProps>> = { shift: Shift, header: Header, fault: Faults, timeout: Timeouts, mirror: Mirrors, breaker: Breakers };

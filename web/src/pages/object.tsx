import { useEffect, useState } from "preact/hooks";
import type { ObjectStatus, Problem, StoredObject, Validation } from "../api/types";
import { api, Refusal } from "../api/client";
import { DiffView } from "../editor/diffview";
import { Editor } from "../editor/editor";
import { useCheck } from "../editor/check";
import { templates } from "../editor/templates";
import { objectLink } from "../lib/links";
import { readOnly } from "../lib/mesh";
import { plural } from "../lib/format";
import { useResource } from "../lib/resource";
import { go, href } from "../lib/router";
import { ticks } from "../lib/time";
import { Badge, Notice, Pending, Sheet, Verdict } from "../parts/basics";
import { Icon } from "../parts/icons";
import { say } from "../parts/toast";

/** Applies a text, waits for the proxies, and says what became of it; whether it was applied. */
export async function applyText(text: string): Promise<boolean> {
  try {
    const c = await api.apply(text);
    const changed = c.objects.filter((o) => o.change !== "unchanged");
    say(changed.length === 0 ? "Nothing changed." : changed.map((o) => `${o.kind} ${o.name} ${o.change}`).join(", ") + ": on its way to the proxies", "ok");
    void api.wait(c.revision).then((r) => {
      const bad = r.proxies.filter((p) => p.state === "rejected"), slow = r.proxies.filter((p) => p.state === "pending");
      if (bad.length > 0) say(`${bad[0]!.proxy} refuses it: ${bad[0]!.reason ?? "no reason given"}`, "bad");
      else if (slow.length > 0) say(`${plural(slow.length, "proxy", "proxies")} have not answered yet: ${slow[0]!.reason ?? slow[0]!.proxy}`, "bad");
      else if (changed.length > 0) say(`In force on ${plural(r.proxies.length, "proxy", "proxies")}`, "ok");
    }, () => undefined);
    ticks.objects.value++;
    return true;
  } catch (e) {
    say(e instanceof Refusal ? e.message : String(e), "bad");
    return false;
  }
}

export function ObjectPage({ kind, namespace, name }: { kind: string; namespace: string; name: string }) {
  const { data, error } = useResource<StoredObject>(`api/objects/${encodeURIComponent(kind)}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`, ticks.objects);
  const [text, setText] = useState<string>();
  const [base, setBase] = useState<string>();
  useEffect(() => {
    if (!data) return;
    if (text === undefined || text === base) setText(data.yaml);
    setBase(data.yaml);
  }, [data?.yaml]);
  const [removing, setRemoving] = useState(false);
  if (!data || text === undefined || base === undefined) return <div class="page"><Pending error={error} what="object" /></div>;
  const remove = async () => {
    try {
      await api.remove(kind, namespace === "-" ? undefined : namespace, name);
      say(`${kind} ${name} deleted`, "ok");
      go(["config"]);
    } catch (e) {
      say(e instanceof Refusal ? e.message : String(e), "bad");
    }
  };
  return (
    <div class="page">
      <header>
        <div class="grow">
          <div class="row wrap"><h2 style="font-size:20px">{data.name}</h2><Badge>{data.kind}</Badge><Verdict code={data.verdict} />
            {data.proxies !== undefined && data.proxies > 0 && <Badge tone={data.inForce === data.proxies ? "ok" : "info"}>{data.inForce} of {plural(data.proxies, "proxy", "proxies")} up to date</Badge>}
          </div>
          <p class="lead">{data.namespace ?? "no namespace"}{data.generation ? ` · generation ${data.generation}` : ""}</p>
        </div>
        {!readOnly.value && <button type="button" class="button danger" onClick={() => setRemoving(true)}><Icon name="trash" />Delete</button>}
      </header>
      <Workbench text={text} base={base} onInput={setText} live={data} />
      {removing && (
        <Sheet title={`Delete ${data.kind} ${data.name}?`} small onClose={() => setRemoving(false)}
          footer={<><button type="button" class="button" onClick={() => setRemoving(false)}>Keep it</button><button type="button" class="button danger" onClick={() => { setRemoving(false); void remove(); }}>Delete</button></>}>
          <p>The proxies go on without it at once. Its YAML is not kept anywhere else.</p>
        </Sheet>
      )}
    </div>
  );
}

export function NewObjectPage() {
  const [text, setText] = useState(templates[0]!.yaml);
  return (
    <div class="page">
      <header>
        <p class="lead grow">One or more documents; they are applied together or not at all.</p>
        <label class="row"><span class="muted small">Start from</span>
          <select onChange={(e) => setText(templates[Number(e.currentTarget.value)]!.yaml)}>{templates.map((t, i) => <option key={t.name} value={i}>{t.name}</option>)}</select>
        </label>
      </header>
      <Workbench text={text} base="" onInput={setText} onApplied={(v) => { const o = v?.objects[0]; if (o) go(["config", o.kind, o.namespace || "-", o.name]); }} />
    </div>
  );
}

/** The editor, what the server says of its text, and the way to apply it. */
function Workbench({ text, base, onInput, live, onApplied }: { text: string; base: string; onInput: (v: string) => void; live?: StoredObject; onApplied?: (v?: Validation) => void }) {
  const check = useCheck(text);
  const [reviewing, setReviewing] = useState(false);
  const changed = text !== base;
  const problems = check.result?.problems ?? [];
  const warnings = check.result?.warnings ?? [];
  const verdicts = changed || !live ? check.result?.verdicts ?? [] : [live];
  const marks = [...problems, ...warnings.map((w) => ({ ...w, warning: true }))];
  const rows = Math.min(34, Math.max(16, text.split("\n").length + 1));
  return (
    <div class="workbench">
      <div class="stack tight">
        <Editor label="YAML" value={text} onInput={onInput} marks={marks} readOnly={readOnly.value} rows={rows} />
        {!readOnly.value && (
          <div class="row">
            <span class="small muted grow" role="status">{check.busy ? "Checking …" : check.error ? check.error : problems.length > 0 ? plural(problems.length, "mistake") : check.result ? "No mistakes" : ""}</span>
            {changed && base && <button type="button" class="button quiet" onClick={() => onInput(base)}>Discard changes</button>}
            <button type="button" class="button primary" disabled={!changed || check.busy || !check.result?.valid} onClick={() => setReviewing(true)}>Review and apply</button>
          </div>
        )}
      </div>
      <aside class="stack" aria-label="What is found in it">
        <section class="card">
          <header><h2>{changed || !live ? "If it were applied" : "Verdict"}</h2></header>
          <div class="body stack tight" aria-live="polite">
            {problems.map((p, i) => <Found key={i} p={p} tone="bad" />)}
            {warnings.map((p, i) => <Found key={i} p={p} tone="warn" />)}
            {problems.length === 0 && verdicts.map((o) => <Details key={o.kind + o.namespace + o.name} o={o} />)}
            {problems.length === 0 && verdicts.length === 0 && check.result && <p class="muted small">{check.result.objects.map((o) => `${o.kind} ${o.name} would be ${o.change}.`).join(" ")}</p>}
          </div>
        </section>
        {live?.refused && live.refused.length > 0 && <section class="card"><header><h2>Refused by proxies</h2></header><div class="body stack tight">{live.refused.map((r) => <Notice key={r.proxy} tone="bad"><strong>{r.proxy}</strong>: {r.reason}</Notice>)}</div></section>}
      </aside>
      {reviewing && (
        <Sheet title="What changes" onClose={() => setReviewing(false)}
          footer={<><button type="button" class="button" onClick={() => setReviewing(false)}>Back</button><button type="button" class="button primary" onClick={async () => { setReviewing(false); if (await applyText(text)) onApplied?.(check.result); }}>Apply</button></>}>
          <div class="stack">
            <p class="muted">{check.result?.objects.map((o) => `${o.kind} ${o.name}: ${o.change}`).join(" · ")}</p>
            {warnings.length > 0 && <div class="stack tight">{warnings.map((p, i) => <Found key={i} p={p} tone="warn" />)}</div>}
            <DiffView before={base} after={text} label="Difference" />
          </div>
        </Sheet>
      )}
    </div>
  );
}

function Found({ p, tone }: { p: Problem; tone: "bad" | "warn" }) {
  return <Notice tone={tone}>{p.line ? <strong>Line {p.line}: </strong> : null}{p.path && <code>{p.path} </code>}{p.message}</Notice>;
}

/** The verdicts on one object. */
export function Details({ o }: { o: ObjectStatus }) {
  const list = o.details ?? [];
  return (
    <div class="stack tight">
      <div class="row wrap"><Verdict code={o.verdict} /><span class="small">{o.kind} <a href={objectLink(o)}>{o.name}</a></span></div>
      {list.filter((d) => d.code !== "Effective").map((d, i) => (
        <div key={i} class="detail">
          <div class="row wrap"><Verdict code={d.code} />{d.path && <code class="small">{d.path}</code>}</div>
          {d.message && <p class="small">{d.message}</p>}
          {d.by && <p class="small muted">By <By text={d.by} /></p>}
        </div>
      ))}
      {o.verdict === "Effective" && list.length === 0 && <p class="small muted">Every field does what it says.</p>}
    </div>
  );
}

/** "VirtualService default/reviews" with its page. */
function By({ text }: { text: string }) {
  const m = /^(\w+) (?:([^/\s]+)\/)?(\S+)$/.exec(text);
  return m ? <a href={href(["config", m[1]!, m[2] ?? "-", m[3]!])}>{text}</a> : <>{text}</>;
}

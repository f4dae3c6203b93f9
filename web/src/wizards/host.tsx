import { useMemo, useState } from "preact/hooks";
import { documents, toYAML } from "../editor/yaml";
import { applyText } from "../pages/object";
import { Notice, Segments, Sheet } from "../parts/basics";
import { Coloured } from "../editor/editor";
import { DiffView } from "../editor/diffview";
import { useCheck } from "../editor/check";
import { opened, wizards, type WizardKind } from "./open";
import { forms } from "./forms";
import { Outcome } from "./outcome";
import type { Resource } from "./rules";
import { keyOf, useSubject, type Loaded } from "./subject";

/** The wizard that is open, if one is. */
export function WizardHost() {
  const o = opened.value;
  return o && <Wizard key={o.kind + o.service} kind={o.kind} service={o.service} />;
}

function Wizard({ kind, service }: { kind: WizardKind; service: string }) {
  const { loaded, error } = useSubject(service);
  const title = `${wizards.find((w) => w.kind === kind)!.title}: ${service.split("/")[1]}`;
  const close = () => (opened.value = null);
  if (error) return <Sheet title={title} small onClose={close}><Notice tone="bad">{error}</Notice></Sheet>;
  if (!loaded) return <Sheet title={title} onClose={close}><div class="skeleton" style="height:320px" /></Sheet>;
  return <Steps kind={kind} title={title} loaded={loaded} close={close} />;
}

function Steps({ kind, title, loaded, close }: { kind: WizardKind; title: string; loaded: Loaded; close: () => void }) {
  const [result, setResult] = useState<Resource[] | string>([]);
  const [show, setShow] = useState<"diff" | "yaml">("diff");
  const [busy, setBusy] = useState(false);
  const Form = forms[kind];
  const resources = typeof result === "string" ? [] : result;
  const text = useMemo(() => (resources.length > 0 ? documents(resources) : ""), [result]);
  const check = useCheck(text, 200);
  const apply = async () => {
    setBusy(true);
    if (await applyText(text)) close();
    else setBusy(false);
  };
  const problems = check.result?.problems ?? [];
  return (
    <Sheet title={title} onClose={close} footer={
      <>
        <span class="grow small muted" role="status">{check.busy && text ? "Checking …" : ""}</span>
        <button type="button" class="button" onClick={close}>Cancel</button>
        <button type="button" class="button primary" data-apply disabled={!text || busy || check.text !== text || !check.result?.valid} onClick={() => void apply()}>Apply</button>
      </>
    }>
      <div class="wizard">
        <div class="stack"><Form loaded={loaded} onChange={setResult} /></div>
        <div class="preview">
          {typeof result === "string" && <Notice tone="warn">{result}</Notice>}
          {problems.map((p, i) => <Notice key={i} tone="bad">{p.path && <code>{p.path} </code>}{p.message}</Notice>)}
          {check.result?.verdicts.flatMap((v) => (v.details ?? []).filter((d) => d.code !== "Effective").map((d, i) => <Notice key={v.name + i} tone="warn"><strong>{d.code}</strong> {d.path && <code>{d.path} </code>}{d.message}</Notice>))}
          <Outcome loaded={loaded} text={check.result?.valid ? check.text : ""} />
          <div class="row apart">
            <h3>{resources.length === 1 ? keyOf(resources[0]!) : resources.map((r) => r.kind).join(" and ")}</h3>
            <Segments label="Show" value={show} options={[["diff", "Difference"], ["yaml", "YAML"]]} onChange={setShow} />
          </div>
          {show === "yaml" ? <pre class="diff" style="padding:10px 14px" tabIndex={0}><Coloured text={text.trimEnd()} /></pre>
            : resources.map((r) => <DiffView key={keyOf(r)} label={`Changes to ${keyOf(r)}`} before={loaded.before.has(keyOf(r)) ? normalized(loaded, r) : ""} after={toYAML(r)} />)}
        </div>
      </div>
    </Sheet>
  );
}

/** The object as it is, written in the order in which the wizard writes. */
function normalized(loaded: Loaded, r: Resource): string {
  const old = [loaded.subject.virtualService, loaded.subject.destinationRule].find((x) => x && keyOf(x) === keyOf(r));
  return old ? toYAML(old) : loaded.before.get(keyOf(r)) ?? "";
}

import { useState } from "preact/hooks";
import type { ObjectList, ObjectStatus } from "../api/types";
import { objectLink } from "../lib/links";
import { plural } from "../lib/format";
import { useResource } from "../lib/resource";
import { href, param, setParams } from "../lib/router";
import { readOnly } from "../lib/mesh";
import { ticks } from "../lib/time";
import { Badge, Empty, Notice, Pending, Search, Verdict } from "../parts/basics";
import { Icon } from "../parts/icons";
import { Table } from "../parts/table";

const grave: Record<string, number> = { Invalid: 0, Unsupported: 1, Shadowed: 2, SelectsNothing: 3, NotActedOn: 4, Waiting: 5, Differs: 6, Effective: 7 };

export function ConfigPage() {
  const [text, setText] = useState("");
  const { data, error } = useResource<ObjectList>("api/objects", ticks.objects);
  if (!data) return <div class="page"><Pending error={error} what="configuration" /></div>;
  const kind = param("kind"), only = param("verdict"), ns = param("ns") ? param("ns").split(",") : [];
  const inNamespace = (o: ObjectStatus) => ns.length === 0 || !o.namespace || ns.includes(o.namespace);
  const all = data.objects.filter(inNamespace);
  const kinds = [...new Set(all.map((o) => o.kind))].sort();
  const rows = all.filter((o) => (!kind || o.kind === kind) && (!only || (only === "problem" ? o.verdict !== "Effective" : o.verdict === only)) && `${o.name} ${o.namespace} ${o.kind}`.toLowerCase().includes(text.toLowerCase()));
  const problems = all.filter((o) => ["Invalid", "Unsupported", "Shadowed", "SelectsNothing"].includes(o.verdict)).length;
  const broken = data.files?.flatMap((f) => (f.problems ?? (f.error ? [{ message: f.error }] : [])).map((p) => `${f.path ?? f.file ?? ""}: ${p.message}`)) ?? [];
  return (
    <div class="page">
      <header>
        <p class="lead grow">{plural(all.length, "object")}{problems > 0 ? `, ${problems} with a problem` : ", none with a problem"}{data.compiled < data.revision && " · the newest change is being read"}</p>
        <label class="row"><span class="sr">Kind</span>
          <select value={kind} onChange={(e) => setParams({ kind: e.currentTarget.value || undefined })}>
            <option value="">All kinds</option>
            {kinds.map((k) => <option key={k} value={k}>{k}</option>)}
          </select>
        </label>
        <label class="row"><span class="sr">Verdict</span>
          <select value={only} onChange={(e) => setParams({ verdict: e.currentTarget.value || undefined })}>
            <option value="">Every verdict</option>
            <option value="problem">Not in force</option>
            {[...new Set(all.map((o) => o.verdict))].sort().map((v) => <option key={v} value={v}>{v}</option>)}
          </select>
        </label>
        <Search label="Filter by name" value={text} onInput={setText} />
        {!readOnly.value && <a class="button primary" href={href(["config", "new"])}><Icon name="plus" />New object</a>}
      </header>
      <div class="stack">
        {broken.map((b) => <Notice key={b} tone="bad">{b}</Notice>)}
        {readOnly.value && <Notice>This console is read-only: objects are shown and checked, not changed.</Notice>}
        <section class="card">
          {rows.length === 0 ? <Empty icon="config" title={data.objects.length === 0 ? "No objects yet" : "No object fits"} /> : (
            <Table caption="Objects" rows={rows} first="verdict" id={(o) => `${o.kind}/${o.namespace}/${o.name}`} columns={[
              { key: "verdict", title: "Verdict", by: (o) => grave[o.verdict] ?? 9, cell: (o) => <Verdict code={o.verdict} /> },
              { key: "kind", title: "Kind", by: (o) => o.kind, cell: (o) => <span class="muted">{o.kind}</span> },
              { key: "name", title: "Name", by: (o) => o.name, cell: (o) => <a class="main" href={objectLink(o)}>{o.name}</a> },
              { key: "ns", title: "Namespace", by: (o) => o.namespace ?? "", cell: (o) => <span class="muted">{o.namespace ?? "–"}</span> },
              { key: "why", title: "Why", cell: (o) => <Why o={o} /> },
            ]} />
          )}
        </section>
      </div>
    </div>
  );
}

function Why({ o }: { o: ObjectStatus }) {
  const d = o.details?.filter((x) => x.code !== "Effective" && x.message) ?? [];
  if (d.length === 0) return null;
  return <span class="small muted why">{d[0]!.message}{d.length > 1 && <> <Badge>{d.length - 1} more</Badge></>}</span>;
}

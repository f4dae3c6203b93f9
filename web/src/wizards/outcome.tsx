// What would become of a request, told by the proxy's own evaluator over the
// configuration that is not applied yet.
import { useEffect, useState } from "preact/hooks";
import type { Explanation } from "../api/types";
import { api, Refusal } from "../api/client";
import { share } from "../lib/format";
import { Notice } from "../parts/basics";
import type { Loaded } from "./subject";

export function Outcome({ loaded, text }: { loaded: Loaded; text: string }) {
  const [from, setFrom] = useState(loaded.callers[0] ?? "");
  const [path, setPath] = useState("/");
  const [header, setHeader] = useState("");
  const [state, set] = useState<{ answer?: Explanation; error?: string }>({});
  const { subject } = loaded;
  useEffect(() => {
    if (!text || !from) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      const [name, ...value] = header.split(/[:=]/);
      const headers = name?.trim() && value.length > 0 ? { [name.trim()]: value.join(":").trim() } : undefined;
      const url = `http://${subject.namespace === from.split(".").pop() ? subject.name : subject.host}${subject.port ? ":" + subject.port : ""}${path.startsWith("/") ? path : "/" + path}`;
      api.explain({ from, url, headers, with: text }, abort.signal).then((answer) => set({ answer }), (e) => { if (!abort.signal.aborted) set({ error: e instanceof Refusal ? e.message : String(e) }); });
    }, 250);
    return () => { clearTimeout(timer); abort.abort(); };
  }, [text, from, path, header]);
  if (loaded.callers.length === 0) return <Notice>No proxy is connected that could be asked what it would do.</Notice>;
  const e = state.answer?.explanation;
  return (
    <section class="outcome" aria-label="What a request would meet">
      <h3 style="margin-bottom:9px">A request would then</h3>
      <div class="threecol">
        <label class="field"><span>From</span><select value={from} onChange={(x) => setFrom(x.currentTarget.value)}>{loaded.callers.map((c) => <option key={c} value={c}>{c}</option>)}</select></label>
        <label class="field"><span>Path</span><input type="text" value={path} onInput={(x) => setPath(x.currentTarget.value)} /></label>
        <label class="field"><span>Header</span><input type="text" value={header} placeholder="name: value" onInput={(x) => setHeader(x.currentTarget.value)} /></label>
      </div>
      <div aria-live="polite" style="margin-top:10px">
        {state.error && <Notice tone="bad">{state.error}</Notice>}
        {e && <>
          <p class="small">{e.failure ?? e.answer}</p>
          {e.destinations?.map((d) => (
            <div key={d.cluster} class="dest" title={d.problem ?? d.cluster}>
              <span class="clip mono small">{d.cluster.split("|").filter(Boolean).slice(2).join(" · ") || d.cluster}</span>
              <span class="bar"><i class={d.problem ? "bad" : "accent"} style={`width:${d.percent}%`} /></span>
              <span class="num">{share(d.percent / 100)}</span>
            </div>
          ))}
        </>}
        {!e && !state.error && <p class="small muted">{text ? "Asking the proxy's evaluator …" : "Complete the form to see it."}</p>}
      </div>
    </section>
  );
}

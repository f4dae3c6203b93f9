import type { Rates } from "../api/types";
import { millis, number, share, throughput } from "../lib/format";

/** The class of an error share. */
export const errorTone = (s: number) => (s >= 0.1 ? "bad" : s >= 0.001 ? "warn" : "");

/** The golden numbers. */
export function Metrics({ rates, tcp, wide }: { rates: Rates; tcp?: boolean; wide?: boolean }) {
  return (
    <dl class={"metrics" + (wide ? " wide" : "")}>
      {!tcp && <>
        <div><dt>Requests</dt><dd>{number(rates.rate)} <span class="small muted">/s</span></dd></div>
        <div><dt>Errors</dt><dd class={errorTone(rates.errorShare)}>{share(rates.errorShare)}</dd></div>
        <div><dt>p50</dt><dd>{millis(rates.p50)}</dd></div>
        <div><dt>p95</dt><dd>{millis(rates.p95)}</dd></div>
        <div><dt>p99</dt><dd>{millis(rates.p99)}</dd></div>
      </>}
      {tcp && <div><dt>Connections</dt><dd>{number(rates.connections ?? 0)} <span class="small muted">/s</span></dd></div>}
      {(tcp || rates.bytesSent !== undefined) && <div><dt>Sent</dt><dd>{throughput(rates.bytesSent)}</dd></div>}
      {(tcp || rates.bytesReceived !== undefined) && <div><dt>Received</dt><dd>{throughput(rates.bytesReceived)}</dd></div>}
    </dl>
  );
}

const codeColor = (code: string) => (code === "0" || /^5/.test(code) || (/^grpc/.test(code) && code !== "grpc 0") ? "var(--edge-bad)" : /^4/.test(code) ? "var(--edge-warn)" : /^3/.test(code) ? "var(--series-2)" : "var(--edge-ok)");

/** Response codes and flags as a bar with its list. */
export function Codes({ rates }: { rates: Rates }) {
  const codes = Object.entries(rates.codes ?? {}).filter(([, v]) => v > 0).sort(([a], [b]) => a.localeCompare(b));
  const total = codes.reduce((n, [, v]) => n + v, 0);
  if (!total) return null;
  const flags = Object.entries(rates.flags ?? {}).filter(([, v]) => v > 0);
  return (
    <div>
      <div class="codes" aria-hidden="true">{codes.map(([c, v]) => <i key={c} style={`flex:${v / total};background:${codeColor(c)}`} />)}</div>
      <ul class="codelist" aria-label="Responses">
        {codes.map(([c, v]) => <li key={c}><i style={`background:${codeColor(c)}`} />{c === "0" ? "no answer" : c} <span class="num">{share(v / total)}</span></li>)}
        {flags.map(([f, v]) => <li key={f}><code>{f}</code> {share(v / total)}</li>)}
      </ul>
    </div>
  );
}

import type { ComponentChildren } from "preact";
import type { Rates } from "../api/types";
import { millis, number, share } from "../lib/format";
import { errorTone } from "./metrics";

/** The golden numbers in large type, and what else belongs beside them. */
export function Figures({ rates, children }: { rates: Rates; children?: ComponentChildren }) {
  return (
    <dl class="figures">
      <div class="figure"><dt>Requests</dt><dd>{number(rates.rate)}<small>/s</small></dd></div>
      <div class="figure"><dt>Errors</dt><dd class={"tone " + errorTone(rates.errorShare)}>{rates.rate ? share(rates.errorShare) : "–"}</dd></div>
      <div class="figure"><dt>Latency p50</dt><dd>{millis(rates.p50)}</dd></div>
      <div class="figure"><dt>Latency p95</dt><dd>{millis(rates.p95)}</dd></div>
      <div class="figure"><dt>Latency p99</dt><dd>{millis(rates.p99)}</dd></div>
      {children}
    </dl>
  );
}

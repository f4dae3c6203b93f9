import { signal } from "@preact/signals";
import type { IconName } from "../parts/icons";

export type WizardKind = "shift" | "header" | "fault" | "timeout" | "mirror" | "breaker";

export const wizards: { kind: WizardKind; icon: IconName; title: string; note: string }[] = [
  { kind: "shift", icon: "split", title: "Shift traffic", note: "weights between versions" },
  { kind: "header", icon: "header", title: "Route by header", note: "some requests to a version of their own" },
  { kind: "fault", icon: "bolt", title: "Inject a fault", note: "delays and errors, to see what callers do" },
  { kind: "timeout", icon: "clock", title: "Time-out and retries", note: "how long callers wait, and when they try again" },
  { kind: "mirror", icon: "mirror", title: "Mirror traffic", note: "a copy of requests to another version" },
  { kind: "breaker", icon: "breaker", title: "Circuit breaker", note: "bounds on load, and rest for endpoints that fail" },
];

/** The wizard that is open, and for which service (NS/NAME). */
export const opened = signal<{ kind: WizardKind; service: string } | null>(null);

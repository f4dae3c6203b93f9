// Validation while typing: asks the server when the typing rests.
import { useEffect, useState } from "preact/hooks";
import type { Validation } from "../api/types";
import { api, Refusal } from "../api/client";

export interface Checked { text: string; result?: Validation; error?: string; busy: boolean }

export function useCheck(text: string, delay = 350): Checked {
  const [state, set] = useState<Checked>({ text: "", busy: false });
  useEffect(() => {
    if (!text.trim()) { set({ text, busy: false }); return; }
    set((s) => ({ ...s, busy: true }));
    const abort = new AbortController();
    const timer = setTimeout(() => {
      api.validate(text, abort.signal).then(
        (result) => set({ text, result, busy: false }),
        (e) => { if (!abort.signal.aborted) set({ text, error: e instanceof Refusal ? e.message : String(e), busy: false }); },
      );
    }, delay);
    return () => { clearTimeout(timer); abort.abort(); };
  }, [text]);
  return state;
}

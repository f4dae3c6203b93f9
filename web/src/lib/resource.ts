import { useEffect, useRef, useState } from "preact/hooks";
import type { Signal } from "@preact/signals";
import { api, Refusal } from "../api/client";

export interface Resource<T> {
  data?: T;
  error?: Refusal;
  loading: boolean;
  reload: () => void;
}

/**
 * Reads a path of the API, and again whenever a tick grows. What was read before
 * stays until the new answer is there; null reads nothing.
 */
export function useResource<T>(path: string | null, ...ticks: Signal<number>[]): Resource<T> {
  const [state, set] = useState<{ path: string | null; data?: T; error?: Refusal }>({ path: null });
  const [again, reload] = useState(0);
  const tick = ticks.map((t) => t.value).join();
  const shown = useRef<string | null>(null);
  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    api.get<T>(path, abort.signal).then(
      (data) => { shown.current = path; set({ path, data }); },
      (e) => {
        if (abort.signal.aborted) return;
        const error = e instanceof Refusal ? e : new Refusal(0, [{ message: String(e) }]);
        // A hiccup keeps what is shown; another page does not.
        set((old) => ({ path, error, data: bare(old.path) === bare(path) && error.status === 0 ? old.data : undefined }));
      },
    );
    return () => abort.abort();
  }, [path, tick, again]);
  const same = bare(state.path) === bare(path);
  return { data: same ? state.data : undefined, error: same ? state.error : undefined, loading: !same || (!state.data && !state.error), reload: () => reload((n) => n + 1) };
}

const bare = (path: string | null) => path?.split("?")[0] ?? null;

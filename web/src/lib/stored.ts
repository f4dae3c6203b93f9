import { effect, signal, type Signal } from "@preact/signals";

/** A setting that this browser remembers. */
export function stored<T>(name: string, first: T): Signal<T> {
  const key = "lateen." + name;
  let value = first;
  try {
    const text = localStorage.getItem(key);
    if (text !== null) value = JSON.parse(text) as T;
  } catch {
    localStorage.removeItem(key);
  }
  const s = signal(value);
  effect(() => localStorage.setItem(key, JSON.stringify(s.value)));
  return s;
}

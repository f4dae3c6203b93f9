// Moving and zooming the graph by pointer, wheel, two fingers and keys.
import { useEffect, useRef } from "preact/hooks";
import { signal, type Signal } from "@preact/signals";
import type { Camera } from "./traffic";

const least = 0.08, most = 2.2;
const bound = (s: number) => Math.min(most, Math.max(least, s));

export interface Stage {
  camera: Signal<Camera>;
  /** Whether the user has moved the camera: then it stays where it is. */
  moved: { current: boolean };
  fit: (width: number, height: number, aside?: number) => void;
  zoom: (factor: number, at?: { x: number; y: number }) => void;
  /** Brings a rectangle into view. */
  reveal: (x: number, y: number, w: number, h: number, aside?: number) => void;
}

/** The camera over an element. */
export function useStage(element: { current: HTMLElement | null }): Stage {
  const stage = useRef<Stage>(undefined);
  if (!stage.current) {
    const camera = signal<Camera>({ x: 0, y: 0, scale: 0.01 });
    const moved = { current: false };
    stage.current = {
      camera, moved,
      fit(width, height, aside = 0) {
        const el = element.current;
        if (!el || !width || !height) return;
        const room = { w: el.clientWidth - aside - 64, h: el.clientHeight - 110 };
        const scale = Math.max(least, Math.min(1.25, room.w / width, room.h / height));
        camera.value = { scale, x: (el.clientWidth - aside - width * scale) / 2, y: (el.clientHeight - height * scale) / 2 - 6 };
        moved.current = false;
      },
      zoom(factor, at) {
        const el = element.current!;
        const p = at ?? { x: el.clientWidth / 2, y: el.clientHeight / 2 };
        const c = camera.value;
        const scale = bound(c.scale * factor);
        const k = scale / c.scale;
        camera.value = { scale, x: p.x - (p.x - c.x) * k, y: p.y - (p.y - c.y) * k };
        moved.current = true;
      },
      reveal(x, y, w, h, aside = 0) {
        const el = element.current!;
        const c = camera.value;
        const left = x * c.scale + c.x, top = y * c.scale + c.y;
        const right = el.clientWidth - aside - 12;
        const dx = left < 12 ? 12 - left : left + w * c.scale > right ? right - left - w * c.scale : 0;
        const dy = top < 12 ? 12 - top : top + h * c.scale > el.clientHeight - 12 ? el.clientHeight - 12 - top - h * c.scale : 0;
        if (dx || dy) camera.value = { ...c, x: c.x + dx, y: c.y + dy };
      },
    };
  }
  const s = stage.current;
  useEffect(() => {
    const el = element.current!;
    const stop = listen(el, s);
    return stop;
  }, []);
  return s;
}

function listen(el: HTMLElement, s: Stage): () => void {
  const fingers = new Map<number, { x: number; y: number }>();
  let apart = 0;
  const at = (e: { clientX: number; clientY: number }) => {
    const r = el.getBoundingClientRect();
    return { x: e.clientX - r.left, y: e.clientY - r.top };
  };
  const wheel = (e: WheelEvent) => {
    e.preventDefault();
    s.zoom(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0016)), at(e));
  };
  const down = (e: PointerEvent) => {
    if ((e.target as Element).closest("[data-own]") || e.button > 1) return;
    fingers.set(e.pointerId, at(e));
    apart = 0;
  };
  const move = (e: PointerEvent) => {
    const old = fingers.get(e.pointerId);
    if (!old) return;
    const p = at(e);
    if (fingers.size === 1) {
      if (!el.hasPointerCapture(e.pointerId)) {
        if (Math.hypot(p.x - old.x, p.y - old.y) < 4) return; // a click, so far
        el.setPointerCapture(e.pointerId);
      }
      const c = s.camera.value;
      s.camera.value = { ...c, x: c.x + p.x - old.x, y: c.y + p.y - old.y };
      s.moved.current = true;
    }
    fingers.set(e.pointerId, p);
    if (fingers.size === 2) {
      const [a, b] = [...fingers.values()] as [{ x: number; y: number }, { x: number; y: number }];
      const d = Math.hypot(a.x - b.x, a.y - b.y);
      if (apart) s.zoom(d / apart, { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
      apart = d;
    }
  };
  const up = (e: PointerEvent) => { fingers.delete(e.pointerId); apart = 0; };
  const key = (e: KeyboardEvent) => {
    const c = s.camera.value;
    const step = 60;
    const pan: Record<string, [number, number]> = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const p = pan[e.key];
    if (p && e.target === el) { e.preventDefault(); s.camera.value = { ...c, x: c.x + p[0], y: c.y + p[1] }; s.moved.current = true; }
    else if (e.key === "+" || e.key === "=") s.zoom(1.25);
    else if (e.key === "-") s.zoom(0.8);
  };
  el.addEventListener("wheel", wheel, { passive: false });
  el.addEventListener("pointerdown", down);
  el.addEventListener("pointermove", move);
  el.addEventListener("pointerup", up);
  el.addEventListener("pointercancel", up);
  el.addEventListener("keydown", key);
  return () => {
    el.removeEventListener("wheel", wheel);
    el.removeEventListener("pointerdown", down);
    el.removeEventListener("pointermove", move);
    el.removeEventListener("pointerup", up);
    el.removeEventListener("pointercancel", up);
    el.removeEventListener("keydown", key);
  };
}

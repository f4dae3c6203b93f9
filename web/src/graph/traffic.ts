// Dots that run along the edges: more where more requests are, red for the share
// that fails, squares for TCP. One canvas, one clock, a bound on all dots.
import { along, lengthOf, type Curve } from "./paths";

export interface Flow { curves: Curve[]; rate: number; errorShare: number; tcp: boolean }
export interface Camera { x: number; y: number; scale: number }

interface Lane extends Flow { length: number; dots: number }

const most = 420;
const speed = 62; // units of the graph per second
const frame = 1000 / 30;

/** Runs the dots until stop is called. */
export class Traffic {
  private lanes: Lane[] = [];
  private timer = 0;
  private last = 0;

  constructor(private canvas: HTMLCanvasElement, private camera: () => Camera, private colors: () => { ok: string; bad: string; tcp: string }) {}

  /** Sets what flows. */
  show(flows: Flow[]) {
    const lanes = flows.map((f) => {
      const length = lengthOf(f.curves);
      const wanted = Math.min(7, Math.max(1, (length / 220) * (1 + Math.log10(1 + f.rate) * 1.4)));
      return { ...f, length, dots: wanted };
    });
    const total = lanes.reduce((n, l) => n + l.dots, 0);
    const thin = Math.min(1, most / Math.max(1, total));
    for (const l of lanes) l.dots = Math.max(thin < 0.5 ? 0 : 1, Math.round(l.dots * thin));
    this.lanes = lanes;
    if (!this.timer) this.tick(0);
  }

  stop() {
    cancelAnimationFrame(this.timer);
    this.timer = 0;
    this.lanes = [];
    this.canvas.getContext("2d")?.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  private tick = (now: number) => {
    this.timer = requestAnimationFrame(this.tick);
    if (now - this.last < frame || document.hidden) return;
    this.last = now;
    this.paint(now / 1000);
  };

  private paint(seconds: number) {
    const c = this.canvas;
    const ratio = devicePixelRatio || 1;
    const { clientWidth: w, clientHeight: h } = c;
    if (c.width !== Math.round(w * ratio)) c.width = Math.round(w * ratio);
    if (c.height !== Math.round(h * ratio)) c.height = Math.round(h * ratio);
    const g = c.getContext("2d");
    if (!g) return;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, w, h);
    const cam = this.camera();
    const color = this.colors();
    const size = Math.max(1.6, Math.min(3.4, 3 * cam.scale));
    this.lanes.forEach((l, lane) => {
      const pace = (speed * (1 + Math.min(1.4, Math.log10(1 + l.rate) * 0.5))) / l.length;
      for (let i = 0; i < l.dots; i++) {
        // Golden steps keep lanes apart; each passage decides anew whether it fails.
        const phase = seconds * pace + i / l.dots + lane * 0.618;
        const t = phase % 1;
        const p = along(l.curves, t);
        const x = p.x * cam.scale + cam.x, y = p.y * cam.scale + cam.y;
        if (x < -8 || y < -8 || x > w + 8 || y > h + 8) continue;
        const dice = Math.abs(Math.sin((Math.floor(phase) + 1) * 12.9898 + i * 78.233 + lane * 37.719) * 43758.5453) % 1;
        g.globalAlpha = Math.min(1, t * 8, (1 - t) * 8);
        if (l.tcp) {
          g.fillStyle = color.tcp;
          g.fillRect(x - size, y - size * 0.6, size * 2, size * 1.2);
        } else {
          const bad = dice < l.errorShare;
          g.fillStyle = bad ? color.bad : color.ok;
          g.beginPath();
          g.arc(x, y, bad ? size * 1.2 : size, 0, Math.PI * 2);
          g.fill();
        }
      }
    });
    g.globalAlpha = 1;
  }
}

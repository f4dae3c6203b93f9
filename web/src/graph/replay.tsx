// Replay: the graph as it was, moved by a slider or by itself.
import { useEffect, useState } from "preact/hooks";
import { at } from "../lib/time";
import { clock } from "../lib/format";
import { Icon } from "../parts/icons";
import { Segments } from "../parts/basics";

const speeds: [string, string][] = [["1", "1×"], ["10", "10×"], ["60", "60×"]];

export function Replay({ oldest, onClose }: { oldest?: number; onClose: () => void }) {
  const now = Math.floor(Date.now() / 1000);
  const [start] = useState(Math.max(oldest ?? 0, now - 3600));
  const [end] = useState(now);
  const [speed, setSpeed] = useState("10");
  const [playing, setPlaying] = useState(false);
  const value = at.value ?? end;
  useEffect(() => {
    at.value = Math.max(start, end - 300);
    return () => { at.value = null; };
  }, []);
  useEffect(() => {
    if (!playing) return;
    const timer = setInterval(() => {
      const next = Math.min(end, (at.value ?? start) + Number(speed));
      at.value = next;
      if (next >= end) setPlaying(false);
    }, 1000);
    return () => clearInterval(timer);
  }, [playing, speed]);
  return (
    <section class="replaybar" aria-label="Replay">
      <button type="button" class="button icon" aria-label={playing ? "Pause the replay" : "Play"} onClick={() => { if (value >= end) at.value = start; setPlaying(!playing); }}><Icon name={playing ? "pause" : "play"} /></button>
      <Segments label="Speed" value={speed} options={speeds} onChange={setSpeed} />
      <span class="faint small">{clock(start)}</span>
      <input type="range" min={start} max={end} step={5} value={value} aria-label="Time" aria-valuetext={clock(value)} onInput={(e) => (at.value = Number(e.currentTarget.value))} />
      <span class="faint small">{clock(end)}</span>
      <time>{clock(value)}</time>
      <button type="button" class="button quiet" onClick={onClose}>Back to live</button>
    </section>
  );
}

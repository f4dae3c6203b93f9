// Icons on a grid of 16, drawn with the text's colour.
import type { JSX } from "preact";

const paths = {
  graph: <><circle cx="3.5" cy="8" r="2" /><circle cx="12.5" cy="3.5" r="2" /><circle cx="12.5" cy="12.5" r="2" /><path d="M5.3 7.1 10.7 4.4M5.3 8.9l5.4 2.7" /></>,
  service: <path d="M8 1.8 13.5 5v6L8 14.2 2.5 11V5zM2.8 5.2 8 8.2l5.2-3M8 8.2v5.8" />,
  workload: <><rect x="2" y="2.5" width="12" height="4.5" rx="1.2" /><rect x="2" y="9" width="12" height="4.5" rx="1.2" /><path d="M4.7 4.75h.01M4.7 11.25h.01" stroke-width="2" /></>,
  gateway: <path d="M2.5 13.5V6.2C2.5 3.9 5 2 8 2s5.5 1.9 5.5 4.2v7.3M6 13.5V8.6C6 7.7 6.9 7 8 7s2 .7 2 1.6v4.9M1.5 13.5h13" />,
  config: <><path d="M3.5 1.8h6l3 3v9.4h-9zM9.3 1.8v3.2h3.2" /><path d="M5.7 8h4.6M5.7 10.8h3" /></>,
  traces: <path d="M2 3.5h9M4.5 8h7M7 12.5h7" stroke-width="2" />,
  mesh: <><path d="M8 1.8 13.6 4v4.2c0 3-2.3 5-5.6 6-3.3-1-5.6-3-5.6-6V4z" /><path d="m5.6 8 1.7 1.7 3.2-3.3" /></>,
  lock: <><rect x="3" y="7" width="10" height="7" rx="1.5" /><path d="M5.2 7V4.8a2.8 2.8 0 0 1 5.6 0V7" /></>,
  unlock: <><rect x="3" y="7" width="10" height="7" rx="1.5" /><path d="M5.2 7V4.6a2.8 2.8 0 0 1 5.3-1.1" /></>,
  search: <><circle cx="7" cy="7" r="4.3" /><path d="m10.3 10.3 3.5 3.5" /></>,
  sun: <><circle cx="8" cy="8" r="3" /><path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9" /></>,
  moon: <path d="M13.3 9.7A5.7 5.7 0 0 1 6.3 2.7a5.7 5.7 0 1 0 7 7z" />,
  system: <><rect x="1.8" y="2.8" width="12.4" height="8.4" rx="1.3" /><path d="M5.5 13.8h5" /></>,
  pause: <path d="M5.5 3.5v9M10.5 3.5v9" stroke-width="2" />,
  play: <path d="M5 3.2v9.6l7.5-4.8z" fill="currentColor" />,
  close: <path d="m4 4 8 8M12 4l-8 8" />,
  plus: <path d="M8 3v10M3 8h10" />,
  minus: <path d="M3 8h10" />,
  fit: <path d="M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10" />,
  table: <><rect x="2" y="2.8" width="12" height="10.4" rx="1.3" /><path d="M2 6.3h12M2 9.8h12M6.5 6.3v6.9" /></>,
  filter: <path d="M2 3h12l-4.7 5.5v4.7l-2.6-1.4V8.5z" />,
  layers: <path d="m8 2 6 3.2L8 8.4 2 5.2zM2.4 8 8 11l5.6-3M2.4 10.9 8 13.9l5.6-3" />,
  chevron: <path d="m6 3.5 4.5 4.5L6 12.5" />,
  down: <path d="m3.5 6 4.5 4.5L12.5 6" />,
  check: <path d="m3 8.5 3.3 3.3L13 5" />,
  alert: <><path d="M8 2.2 14.5 13.3h-13z" /><path d="M8 6.5v3.2M8 11.6v.01" /></>,
  info: <><circle cx="8" cy="8" r="6.2" /><path d="M8 7.4v3.6M8 5.1v.01" /></>,
  trash: <path d="M2.5 4h11M6 4V2.5h4V4M4 4l.6 9.5h6.8L12 4M6.6 6.8v4M9.4 6.8v4" />,
  edit: <path d="m10.8 2.7 2.5 2.5-7.6 7.6-3.2.7.7-3.2z" />,
  copy: <><rect x="5.5" y="5.5" width="8" height="8" rx="1.3" /><path d="M10.5 5.5v-3h-8v8h3" /></>,
  wand: <path d="m2.5 13.5 7.5-7.5M11.5 1.8v2.8M10.1 3.2h2.8M13.3 7.6v2M12.3 8.6h2M6.5 2.3v2M5.5 3.3h2" />,
  split: <path d="M2 8h3.5L10 3.5h4M5.5 8l4.5 4.5h4M12 1.5l2 2-2 2M12 10.5l2 2-2 2" />,
  bolt: <path d="M9 1.8 3.5 9H8l-1 5.2L12.5 7H8z" />,
  clock: <><circle cx="8" cy="8" r="6.2" /><path d="M8 4.5V8l2.5 1.7" /></>,
  mirror: <path d="M8 1.5v13M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5" />,
  breaker: <path d="M1.5 8H5l1-2M11 8h3.5M6 8l5-4" />,
  header: <path d="M3 3.5h10M3 8h6M3 12.5h8M12 7v3M10.5 8.5h3" />,
  external: <><circle cx="8" cy="8" r="6.2" /><path d="M1.8 8h12.4M8 1.8c2 1.7 2.8 3.8 2.8 6.2S10 12.5 8 14.2C6 12.5 5.2 10.4 5.2 8S6 3.5 8 1.8z" /></>,
  unknown: <><circle cx="8" cy="8" r="6.2" stroke-dasharray="2.5 2" /><path d="M6.3 6.3a1.8 1.8 0 1 1 2.6 1.7c-.6.3-.9.7-.9 1.3M8 11.4v.01" /></>,
  app: <><rect x="2.2" y="2.2" width="11.6" height="11.6" rx="2.6" /><path d="M5.5 8h5M8 5.5v5" /></>,
  sort: <path d="M5 6l3-3 3 3M5 10l3 3 3-3" />,
  side: <><rect x="2" y="2.8" width="12" height="10.4" rx="1.5" /><path d="M6 2.8v10.4" /></>,
  replay: <path d="M3 8a5 5 0 1 0 1.6-3.7M3 2.5v2.7h2.7" />,
  arrow: <path d="M2.5 8h10M9 4.5 12.5 8 9 11.5" />,
} satisfies Record<string, JSX.Element>;

export type IconName = keyof typeof paths;

/** An icon; it says nothing to a screen reader. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      {paths[name]}
    </svg>
  );
}

/** The mark of the project: a lateen sail. */
export function Mark({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" fill="none" aria-hidden="true">
      <path d="M5 17.5C9.5 15.5 15.5 9 18.5 2c1.6 5.5 1.3 11-.7 15.5z" fill="currentColor" />
      <path d="M2.5 19.5c3 2.4 16 2.4 19 0" stroke="currentColor" stroke-width="2" stroke-linecap="round" />
      <path d="M4.5 18 19.2 1.2" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" opacity="0.55" />
    </svg>
  );
}

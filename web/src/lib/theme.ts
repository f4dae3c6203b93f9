import { computed, effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const media = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(media.matches);
media.addEventListener("change", (e) => (systemDark.value = e.matches));

/** What the user chose. */
export const theme = signal<Theme>((localStorage.getItem("lateen.theme") as Theme) || "system");

/** Whether the dark theme is shown. */
export const dark = computed(() => (theme.value === "system" ? systemDark.value : theme.value === "dark"));

effect(() => {
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
  if (theme.value === "system") localStorage.removeItem("lateen.theme");
  else localStorage.setItem("lateen.theme", theme.value);
});

const moving = matchMedia("(prefers-reduced-motion: reduce)");
/** Whether the system asks for little motion. */
export const calm = signal(moving.matches);
moving.addEventListener("change", (e) => (calm.value = e.matches));

/** Reads a colour of the theme, for canvases. */
export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Mesh, Namespace } from "./api/types";
import { Menu } from "./parts/basics";
import { Icon, Mark, type IconName } from "./parts/icons";
import { Toasts } from "./parts/toast";
import { href, param, path, setParams } from "./lib/router";
import { stored } from "./lib/stored";
import { dark, theme, type Theme } from "./lib/theme";
import { at, connection, duration, paused, ranges, setDuration, setPaused, ticks } from "./lib/time";
import { clock } from "./lib/format";
import { useResource } from "./lib/resource";
import { mesh } from "./lib/mesh";
import { ConfigPage } from "./pages/config";
import { GatewaysPage } from "./pages/gateways";
import { GraphPage } from "./pages/graph";
import { MeshPage } from "./pages/mesh";
import { NewObjectPage, ObjectPage } from "./pages/object";
import { ServicePage, ServicesPage } from "./pages/services";
import { TracePage, TracesPage } from "./pages/traces";
import { WorkloadPage, WorkloadsPage } from "./pages/workloads";
import { WizardHost } from "./wizards/host";

const pages: { id: string; text: string; icon: IconName }[] = [
  { id: "graph", text: "Graph", icon: "graph" },
  { id: "services", text: "Services", icon: "service" },
  { id: "workloads", text: "Workloads", icon: "workload" },
  { id: "gateways", text: "Gateways", icon: "gateway" },
  { id: "config", text: "Configuration", icon: "config" },
  { id: "traces", text: "Traces", icon: "traces" },
  { id: "mesh", text: "Mesh", icon: "mesh" },
];

const narrow = stored("side.narrow", false);

export function Shell() {
  const [page = "graph", ...rest] = path.value;
  const main = useRef<HTMLElement>(null);
  const { data } = useResource<Mesh>("api/mesh", ticks.objects, ticks.proxies);
  useEffect(() => { if (data) mesh.value = data; }, [data]);
  const text = pages.find((p) => p.id === page)?.text ?? "Lateen";
  const crumbs = rest.filter((x) => x !== "-");
  useEffect(() => {
    document.title = [...crumbs].reverse().concat(text, "Lateen").slice(0, 3).join(" · ");
    main.current?.scrollTo(0, 0);
  }, [path.value.join("/")]);
  const problems = Object.entries(mesh.value?.verdicts ?? {}).reduce((n, [code, count]) => (["Invalid", "Unsupported", "Shadowed", "SelectsNothing"].includes(code) ? n + count : n), 0);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <div class={"app" + (narrow.value ? " narrow" : "")}>
        <div class="side">
          <a class="brand" href={href(["graph"])} aria-label="Lateen: to the graph"><Mark /><span class="label">Lateen</span></a>
          <nav aria-label="Pages">
            <ul>
              {pages.map((p) => (
                <li key={p.id}>
                  <a href={href([p.id])} aria-current={p.id === page ? "page" : undefined} title={p.text}>
                    <Icon name={p.icon} size={17} /><span class="label">{p.text}</span>
                    {p.id === "config" && problems > 0 && <span class="count badge warn" title={`${problems} objects with a problem`}>{problems}</span>}
                  </a>
                </li>
              ))}
            </ul>
          </nav>
          <footer>
            <ThemeButton />
            <button type="button" aria-pressed={narrow.value} aria-label={narrow.value ? "Widen the side bar" : "Narrow the side bar"} onClick={() => (narrow.value = !narrow.value)}><Icon name="side" size={17} /><span class="label">Narrow</span></button>
          </footer>
        </div>
        <header class="top">
          <div class="crumbs grow">
            {crumbs.length > 0 && <><a href={href([page])}>{text}</a><span class="sep" aria-hidden="true">/</span></>}
            <h1>{crumbs.length > 0 ? crumbs.at(-1) : text}</h1>
            {crumbs.length > 1 && <span class="faint small">{crumbs.slice(0, -1).join(" · ")}</span>}
          </div>
          <Live />
          {["graph", "services", "workloads", "config"].includes(page) && rest.length === 0 && <NamespaceFilter />}
          {!["config", "mesh"].includes(page) && <TimeRange />}
        </header>
        <main id="main" ref={main} tabIndex={-1}>{route(page, rest)}</main>
      </div>
      <WizardHost />
      <Toasts />
    </>
  );
}

function route(page: string, rest: string[]): ComponentChildren {
  const [a, b, c] = rest;
  switch (page) {
    case "services": return a && b ? <ServicePage key={a + "/" + b} namespace={a} name={b} /> : <ServicesPage />;
    case "workloads": return a && b ? <WorkloadPage key={a + "/" + b} namespace={a} name={b} /> : <WorkloadsPage />;
    case "gateways": return <GatewaysPage />;
    case "config":
      if (a === "new") return <NewObjectPage />;
      return a && b && c ? <ObjectPage key={rest.join("/")} kind={a} namespace={b} name={c} /> : <ConfigPage />;
    case "traces": return a ? <TracePage id={a} /> : <TracesPage />;
    case "mesh": return <MeshPage />;
    default: return <GraphPage />;
  }
}

const themes: [Theme, string, IconName][] = [["system", "As the system", "system"], ["light", "Light", "sun"], ["dark", "Dark", "moon"]];

function ThemeButton() {
  const i = themes.findIndex(([t]) => t === theme.value);
  const next = themes[(i + 1) % themes.length]!;
  return (
    <button type="button" aria-label={`Theme: ${themes[i]![1]}. Change to: ${next[1]}`} data-dark={dark.value} onClick={() => (theme.value = next[0])}>
      <Icon name={themes[i]![2]} size={17} /><span class="label">{themes[i]![1]}</span>
    </button>
  );
}

function Live() {
  if (at.value !== null) return <span class="live off" role="status"><i />{paused.value ? "Paused at" : "Replay of"} {clock(at.value)}{paused.value && <button type="button" class="button quiet" onClick={() => setPaused(false)}>Go on</button>}</span>;
  const lost = connection.value === "lost";
  return <span class={"live " + (lost ? "lost" : "on")} role="status"><i />{lost ? "Connection lost" : "Live"}</span>;
}

function TimeRange() {
  return (
    <label>
      <span class="sr">Time range</span>
      <select value={duration.value} onChange={(e) => setDuration(e.currentTarget.value)}>
        {ranges.map(([v, t]) => <option key={v} value={v}>{t}</option>)}
      </select>
    </label>
  );
}

function NamespaceFilter() {
  const { data = [] } = useResource<Namespace[]>("api/namespaces", ticks.objects);
  const chosen = param("ns") ? param("ns").split(",") : [];
  const toggle = (n: string) => {
    const list = chosen.includes(n) ? chosen.filter((x) => x !== n) : [...chosen, n];
    setParams({ ns: list.sort().join(",") || undefined });
  };
  return (
    <Menu label="Namespaces" icon="layers" text={<span>{chosen.length === 0 ? "All namespaces" : chosen.length === 1 ? chosen[0] : `${chosen.length} namespaces`}</span>}>
      {() => (
        <div class="optionlist">
          {data.map((n) => (
            <label class="check" key={n.name}>
              <input type="checkbox" checked={chosen.includes(n.name)} onChange={() => toggle(n.name)} />
              <span class="grow">{n.name}</span><span class="faint small">{n.services} services</span>
            </label>
          ))}
          {chosen.length > 0 && <button type="button" class="item" onClick={() => setParams({ ns: undefined })}>All namespaces</button>}
        </div>
      )}
    </Menu>
  );
}

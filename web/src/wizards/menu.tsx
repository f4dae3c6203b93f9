import { readOnly } from "../lib/mesh";
import { Menu } from "../parts/basics";
import { Icon } from "../parts/icons";
import { opened, wizards } from "./open";

/** The menu of wizards for a service. */
export function WizardMenu({ service, left }: { service: string; left?: boolean }) {
  if (readOnly.value) return null;
  return (
    <Menu label="Actions" icon="wand" left={left} text="Actions">
      {(close) => wizards.map((w) => (
        <button key={w.kind} type="button" class="item" data-wizard={w.kind} onClick={() => { close(); opened.value = { kind: w.kind, service }; }}>
          <Icon name={w.icon} /><span><strong style="font-weight:560">{w.title}</strong><br /><span class="small muted">{w.note}</span></span>
        </button>
      ))}
    </Menu>
  );
}

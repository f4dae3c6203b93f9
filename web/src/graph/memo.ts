import { Component, type ComponentChildren, type FunctionComponent } from "preact";

/** A component that is drawn anew only when one of its properties is another value. */
export function memo<P extends object>(draw: (p: P) => ComponentChildren): FunctionComponent<P> {
  class Memo extends Component<P> {
    override shouldComponentUpdate(next: P) {
      const old = this.props as Record<string, unknown>;
      const now = next as Record<string, unknown>;
      for (const k in now) if (old[k] !== now[k]) return true;
      return false;
    }
    render() { return draw(this.props as P); }
  }
  return Memo as unknown as FunctionComponent<P>;
}

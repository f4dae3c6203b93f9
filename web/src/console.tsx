// The console: one page in the browser over the API below /api/.
import "./styles/index.css";
import { render } from "preact";
import { Shell } from "./shell";
import { listen } from "./lib/time";

listen();
render(<Shell />, document.getElementById("root")!);

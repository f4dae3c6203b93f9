package web

// What the page imports by name lies in vendor; what tsconfig.json says for types
// is not what is bundled, so the builder is told itself.
//go:generate go tool -modfile=../tools/go.mod esbuild src/console.tsx src/index.html src/icon.svg --bundle --minify --format=esm --target=es2022 --charset=utf8 --legal-comments=linked --jsx=automatic --jsx-import-source=preact --loader:.html=copy --loader:.svg=copy --tsconfig-raw={} --alias:preact=./vendor/preact/preact.mjs --alias:preact/hooks=./vendor/preact/hooks.mjs --alias:preact/jsx-runtime=./vendor/preact/jsx-runtime.mjs --alias:@preact/signals=./vendor/signals/signals.mjs --alias:@preact/signals-core=./vendor/signals-core/signals-core.mjs --alias:uplot=./vendor/uplot/uplot.mjs --entry-names=[name] --outdir=dist --log-level=warning

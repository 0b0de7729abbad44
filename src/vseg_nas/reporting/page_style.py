"""The style sheet of the report page: light and dark, narrow and wide, on screen and on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --back: #ffffff; --raised: #f5f7f9;
  --line: #d5dae0; --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3adb8; --back: #14171b; --raised: #1e2329;
  --line: #39414a; --link: #7db8f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
main { width: 100%; max-width: 84rem; padding: 1.5rem; margin: 0 auto; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 3rem 0 1rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
nav { padding: 1rem 1.5rem; background: var(--raised); font-size: .87rem; line-height: 1.35; }
nav ul { margin: 0; padding: 0; list-style: none; }
nav li { margin: .3rem 0; overflow-wrap: anywhere; }
nav ul ul { padding-left: .9rem; }
nav ul ul a { color: var(--soft); }
nav > ul { columns: 17rem; }
nav > ul > li { margin-top: .8rem; break-inside: avoid; }
nav .home { font-weight: 600; color: var(--ink); }
figure, .table { margin: 0 0 2.5rem; }
.picture { overflow-x: auto; padding: .6rem; background: #ffffff; border: 1px solid var(--line);
  border-radius: .4rem; }
.picture svg, .picture img { display: block; margin: 0 auto; max-width: max(100%, 40rem); height: auto; }
figcaption p { margin: .6rem 0 .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .32rem .7rem; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid var(--line); vertical-align: bottom; font-weight: 600; }
td { border-bottom: 1px solid var(--line); }
tbody + tbody { border-top: 2px solid var(--line); }
tbody tr:hover { background: var(--raised); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
td.short { white-space: nowrap; }
td.long { min-width: 12rem; overflow-wrap: anywhere; }
.spread, .quartiles { color: var(--soft); }
.quartiles { display: block; font-size: .82em; line-height: 1.2; }
.room { visibility: hidden; }
.notes { margin: .7rem 0; padding-left: 1.1rem; color: var(--soft); font-size: .87rem; }
.files, summary { color: var(--soft); font-size: .87rem; margin: .3rem 0; }
summary { cursor: pointer; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .85em; }
pre { margin: .3rem 0; padding: .5rem .7rem; background: var(--raised); border-radius: .3rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
@media (min-width: 90rem) {
  body { display: grid; grid-template-columns: 19rem minmax(0, 1fr); }
  nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; }
  nav > ul { columns: 1; }
}
@media print { nav { display: none; } figure, .table { break-inside: avoid; } }
"""

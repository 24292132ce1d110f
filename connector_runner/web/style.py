"""The one style sheet; its name changes with its content, so that it may be kept for long."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

CSS: Final = """\
:root {
  color-scheme: light dark;
  --ground: #ffffff; --raised: #f4f6f8; --text: #1b2430; --quiet: #4d5a69; --line: #c3ccd6; --link: #0b57a4;
  --good: #12612f; --warn: #7a4a00; --bad: #a3141f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12171d; --raised: #1b222b; --text: #e8edf2; --quiet: #aab6c3; --line: #3b4756; --link: #8cc2ff;
    --good: #7fdb9c; --warn: #f2c063; --bad: #ff9d9d;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.5rem; overflow-wrap: anywhere; }
p { margin: 0.5rem 0; }
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 0.5rem; background: var(--ground); padding: 0.25rem 0.5rem; }
.quiet { color: var(--quiet); }
.mark { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); }
.warn { color: var(--warn); }
.bad { color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 0.5rem; margin: 1rem 0; }
.figures div {
  background: var(--raised); border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.5rem 0.75rem;
}
.figures dt { color: var(--quiet); font-size: 0.875rem; }
.figures dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; min-width: 100%; }
caption { text-align: left; font-weight: 600; padding: 0.25rem 0; }
th, td {
  text-align: left; vertical-align: top; padding: 0.35rem 0.75rem 0.35rem 0; border-bottom: 1px solid var(--line);
}
thead th { color: var(--quiet); font-weight: 600; font-size: 0.875rem; }
tbody th { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
footer { border-top: 1px solid var(--line); margin-top: 2rem; }
footer ul { list-style: none; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; }
@media print { .skip, footer { display: none; } }
"""
PATH: Final = f"/style.{blake2b(CSS.encode(), digest_size=6).hexdigest()}.css"

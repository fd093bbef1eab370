"""The style sheet of the report page: light and dark, screen, phone and paper; no fonts to load."""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f6f8fa;--text:#1b1f24;--muted:#57606a;
--line:#d0d7de;--accent:#0a5cad;--second:#a84300;--good:#1a6b33;--bad:#b42318;--warn:#7d5200;
--heat:96 165 250;
--tone0:#cfe3fb;--tone1:#fde0c5;--tone2:#d3efd9;--tone3:#f3d6ec;--tone4:#fbedb5;--tone5:#dcdff8}
@media (prefers-color-scheme:dark){:root{--page:#12161b;--card:#1a2027;--text:#e6e9ed;
--muted:#a3adb8;--line:#39424d;--accent:#6cb2ff;--second:#ffb066;--good:#6fd08c;--bad:#ff9a90;
--warn:#f0c060;--heat:32 88 168;
--tone0:#16406e;--tone1:#6b3a12;--tone2:#1d5230;--tone3:#5b2a53;--tone4:#5a4a0c;--tone5:#363b78}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem 1.25rem 4rem;max-width:80rem;background:var(--page);
color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
overflow-wrap:anywhere}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .75rem}
h2{font-size:1.3rem;margin:2.75rem 0 .75rem;padding-bottom:.3rem;
border-bottom:1px solid var(--line)}
h3{font-size:1.05rem;margin:1.75rem 0 .5rem}
p,ul{margin:.5rem 0;max-width:52rem}
ul{padding-left:1.25rem}
li{margin:.25rem 0}
.lead{font-size:1.1rem}
.best{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1rem;
margin:1.25rem 0;padding:0;list-style:none;max-width:none}
.best li{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--accent);
border-radius:6px;padding:.75rem 1rem;margin:0}
.best b{display:block;font-size:1.05rem}
.best .role{color:var(--muted);display:block;margin-bottom:.25rem}
.notice{background:var(--card);border-left:4px solid var(--warn);border-radius:4px;
padding:.6rem 1rem .6rem 2rem;margin:1rem 0}
.scroll{overflow-x:auto;margin:.5rem 0 1rem;max-width:100%}
.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{overflow-wrap:break-word;border-collapse:collapse;font-size:.875rem;line-height:1.35;font-variant-numeric:tabular-nums}
caption span{display:block;position:sticky;left:0;max-width:calc(100vw - 2.5rem)}
caption{text-align:left;color:var(--muted);padding:0 0 .5rem;caption-side:top}
th,td{padding:.45rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{vertical-align:bottom;color:var(--muted);font-weight:600;border-bottom-width:2px}
tbody th{font-weight:600}
.number{text-align:right;white-space:nowrap}
thead .number{white-space:normal}
small{display:block;color:var(--muted);font-size:.8em;font-weight:400}
.wide{width:100%}
.wide th,.wide td{padding:.45rem .4rem}
.limits{min-width:10rem}
.wide th:first-child{min-width:8rem;overflow-wrap:anywhere}
.results{font-size:.8125rem}
.results th,.results td{padding:.45rem .3rem}
.wide .verdict{min-width:8.5rem;overflow-wrap:anywhere}
.facts th{min-width:8rem;max-width:22rem;overflow-wrap:anywhere}
.facts td{max-width:48rem;min-width:9rem;overflow-wrap:anywhere}
.tone-good{color:var(--good);font-weight:600}
.tone-bad{color:var(--bad);font-weight:600}
.tone-warn{color:var(--warn);font-weight:600}
[title]{text-decoration:none}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));
gap:2rem;align-items:start;margin:0 0 2rem}
figure{margin:0;break-inside:avoid}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:.5rem}
svg{display:block;width:100%;max-width:32rem;height:auto;overflow:visible}
svg text{font-size:13px;font-family:inherit}
svg .small{font-size:12px}
svg .axis{font-size:12px;fill:var(--muted)}
svg .halo{paint-order:stroke;stroke:var(--page);stroke-width:4px;stroke-linejoin:round}
.grid{stroke:var(--line);stroke-width:1}
.baseline{stroke:currentColor;stroke-width:1.5;stroke-dasharray:5 4}
.whisker{stroke:var(--accent);stroke-width:1.5;opacity:.55}
.point{fill:var(--accent);stroke:var(--page);stroke-width:1}
.point.doubtful{fill:var(--page);stroke:var(--accent);stroke-width:2}
.rug{stroke:var(--accent);stroke-width:1.2;opacity:.45}
.median{stroke:currentColor;stroke-width:3}
.tail{stroke:currentColor;stroke-width:1.3}
.line0{stroke:var(--accent);stroke-width:2}
.line1{stroke:var(--second);stroke-width:2;stroke-dasharray:7 3}
.dot{stroke-dasharray:none}
.dot.line0{fill:var(--accent)}
.dot.line1{fill:var(--second)}
.bar{fill:var(--accent)}
.segment{stroke:var(--page);stroke-width:1.5}
.tone0{fill:var(--tone0)}.tone1{fill:var(--tone1)}.tone2{fill:var(--tone2)}
.tone3{fill:var(--tone3)}.tone4{fill:var(--tone4)}.tone5{fill:var(--tone5)}
.funnel{fill:var(--tone0);opacity:.45}
.bar.zipped{fill:var(--second)}
.bar.zstd{fill:var(--good)}
.confusion td{text-align:right;white-space:nowrap;border:1px solid var(--line);min-width:3.4rem;
background:rgb(var(--heat)/var(--share,0))}
.confusion .hit{font-weight:700}
.confusion td small{color:inherit}
.confusion .recall{background:none;border-color:transparent transparent var(--line);
color:var(--muted)}
.confusion thead th span{writing-mode:vertical-rl;text-orientation:sideways;
transform:rotate(180deg);white-space:nowrap}
.confusion thead th{text-align:center}
.confusion .corner{font-weight:400;vertical-align:bottom}
.confusion tbody th{position:sticky;left:0;background:var(--page);white-space:nowrap}
.dense{font-size:.75rem}
.dense td{min-width:2rem;padding:.2rem .25rem}
.dense tbody th{padding:.2rem .4rem}
summary{cursor:pointer;padding:.35rem 0;font-weight:600}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.75rem 1rem;
overflow-x:auto;font-size:.85rem;line-height:1.5}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media (max-width:700px){
body{padding:1rem 1rem 3rem}
h1{font-size:1.45rem}
.cards thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.cards,.cards tbody,.cards caption{display:block}
.cards tr{display:grid;grid-template-columns:repeat(3,1fr);gap:.15rem .75rem;margin:0 0 1rem;
padding:.75rem;background:var(--card);border:1px solid var(--line);border-radius:6px}
.cards th,.cards td{display:block;padding:.15rem 0;border:0;text-align:left;min-width:0;
overflow-wrap:anywhere;white-space:normal}
.cards th,.cards .verdict,.cards .limits,.cards .reason{grid-column:1/-1}
.results .verdict{grid-column:2/-1}
svg text{font-size:15px}
svg .small,svg .axis{font-size:13px}
.cards th{font-size:1rem}
.cards td::before{content:attr(data-label);display:block;color:var(--muted);font-size:.75rem;
font-weight:400}
}
@media print{
@page{size:landscape;margin:12mm}
:root{color-scheme:light;--page:#fff;--card:#fff;--text:#000;--muted:#444;--line:#bbb;
--accent:#0a5cad;--second:#a84300;--good:#1a6b33;--bad:#b42318;--warn:#7d5200;--heat:96 165 250;
--tone0:#cfe3fb;--tone1:#fde0c5;--tone2:#d3efd9;--tone3:#f3d6ec;--tone4:#fbedb5;--tone5:#dcdff8}
body{max-width:none;padding:0;font-size:11pt}
table{font-size:8pt}
.wide th,.wide td{padding:.3rem .2rem}
caption span{max-width:none}
.results,.wide{font-size:7pt}
.wide th:first-child,.wide .verdict{min-width:6rem}
.scroll{overflow:visible}
tr,.best li{break-inside:avoid}
h2,h3,figcaption{break-after:avoid}
.confusion td,.bar,.point,.segment{print-color-adjust:exact;-webkit-print-color-adjust:exact}
details::details-content{content-visibility:visible;block-size:auto;display:block}
}
"""

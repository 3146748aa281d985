// The look of report.html. No '<' and no '&', so that it stands in XML as it is.
#pragma once

namespace skymm {

constexpr const char* report_style = R"css(
:root {
  --faint: .26; color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #22252a; --soft: #666b73; --line: #e4e1db; --track: #eeece7;
  --right: #1f7a4d; --right-ground: #eaf5ee; --wrong: #b3372f; --wrong-ground: #fbeeec; --accent: #2f62a8;
  --s0: #2f62a8; --s1: #c4661c; --s2: #2c8a63; --s3: #8a4fa3; --s4: #a8842a; --s5: #4a7f93;
}
@media (prefers-color-scheme: dark) {
  :root {
    --faint: .38; --page: #15171a; --card: #1d2024; --ink: #e4e5e7; --soft: #9aa0a8; --line: #30343a; --track: #2a2e34;
    --right: #69c997; --right-ground: #1b2f26; --wrong: #f08c80; --wrong-ground: #3a2220; --accent: #85b1ec;
    --s0: #85b1ec; --s1: #eda15f; --s2: #6fcaa2; --s3: #c898de; --s4: #dcbf6c; --s5: #8fc3d6;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink); font-size: 16px; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "PingFang SC", "Hiragino Sans GB",
    "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", sans-serif;
}
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: clamp(26px, 4.2vw, 36px); line-height: 1.2; margin: 0; font-weight: 650; letter-spacing: -.015em;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 52px 0 16px; font-weight: 620; letter-spacing: -.005em; }
h3 { font-size: 15px; margin: 0 0 12px; font-weight: 600; }
.subtitle { color: var(--soft); margin: 8px 0 0; overflow-wrap: anywhere; }
.facts { display: grid; grid-auto-flow: dense; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 16px 28px; margin: 28px 0 0;
  padding: 20px 0 0; border-top: 1px solid var(--line); }
.facts .long { grid-column: span 2; }
.facts dt { color: var(--soft); font-size: 13px; }
.facts dd { margin: 1px 0 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.notes { margin: 24px 0 0; padding: 10px 16px; border-left: 3px solid var(--s4); background: var(--card); color: var(--soft);
  font-size: 14px; list-style: none; border-radius: 0 6px 6px 0; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 20px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin: 0;
  min-width: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; color: var(--soft); font-size: 13px; margin: -8px 0 0; padding: 0;
  list-style: none; }
.legend i { display: inline-block; width: 14px; height: 3px; border-radius: 2px; vertical-align: middle; margin-right: 6px; }
.i0 { background: var(--s0); } .i1 { background: var(--s1); } .i2 { background: var(--s2); } .i3 { background: var(--s3); }
.i4 { background: var(--s4); } .i5 { background: var(--s5); }
.canvas { padding: 30px 10px 44px 52px; height: 330px; }
.large:last-child:nth-child(odd) { grid-column: 1 / -1; }
.small .canvas { height: 240px; }
svg.curves { width: 100%; height: 100%; overflow: visible; display: block; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; opacity: .6; }
svg text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
svg path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
svg .raw { stroke-width: 1; opacity: var(--faint); } svg .line { stroke-width: 2; }
svg .s0 { stroke: var(--s0); } svg .s1 { stroke: var(--s1); } svg .s2 { stroke: var(--s2); } svg .s3 { stroke: var(--s3); }
svg .s4 { stroke: var(--s4); } svg .s5 { stroke: var(--s5); }
svg .dot { fill: var(--card); stroke-width: 1.8; }
svg .strip { fill: var(--ink); opacity: 0; } svg .strip:hover { opacity: .07; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 500; color: var(--soft); font-size: 13px; padding: 0 0 6px 10px; white-space: nowrap; }
td { text-align: right; padding: 6px 0 6px 10px; border-top: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
th.wide { width: 26%; text-align: left; }
tfoot td { font-weight: 600; } tfoot tr:first-child td { border-top: 2px solid var(--line); }
.bar { position: relative; display: block; height: 8px; border-radius: 4px; background: var(--track); min-width: 56px; }
.bar i { position: absolute; left: 0; top: 0; bottom: 0; border-radius: 4px; background: var(--accent); }
.bar b { position: absolute; top: -3px; bottom: -3px; width: 2px; margin-left: -1px; background: var(--ink); opacity: .55; }
.aside { color: var(--soft); font-size: 13px; margin: 12px 0 0; }
.figure { display: grid; grid-template-columns: 1fr auto; gap: 4px 14px; align-items: baseline; font-size: 14.5px;
  margin: 12px 0 0; }
.figure .value { font-variant-numeric: tabular-nums; white-space: nowrap; } .figure .bar { grid-column: 1 / -1; }
.figure small { color: var(--soft); font-size: 13px; }
.met { color: var(--right); } .missed { color: var(--wrong); }
.met i.fill { background: var(--right); } .missed i.fill { background: var(--wrong); }
#only-wrong { accent-color: var(--wrong); width: 17px; height: 17px; vertical-align: -3px; margin: 0 6px 0 0; }
.filter { color: var(--soft); font-size: 14.5px; cursor: pointer; }
.group { margin: 26px 0 12px; }
.cards { display: grid; align-items: start; grid-template-columns: repeat(auto-fill, minmax(min(100%, 206px), 1fr)); gap: 16px; }
.sample { padding: 0; overflow: hidden; }
.sample img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--track); }
.sample h4 { margin: 10px 14px 7px; font-size: 12.5px; font-weight: 500; color: var(--soft); }
.sample ul { list-style: none; margin: 0; padding: 0 14px 5px; }
.sample li { padding: 7px 0 9px; border-top: 1px solid var(--line); font-size: 14.5px; line-height: 1.4; overflow-wrap: anywhere;
  white-space: pre-line; }
.reply { display: inline-block; margin: 5px 8px 0 0; padding: 1px 9px; border-radius: 6px; font-weight: 550; }
.right .reply { color: var(--right); background: var(--right-ground); }
.wrong .reply { color: var(--wrong); background: var(--wrong-ground); }
.truth { color: var(--soft); font-size: 13px; }
#only-wrong:checked ~ .cards .flawless, #only-wrong:checked ~ .cards .right { display: none; }
details { margin: 14px 0 0; } h2 + details { margin: 0; }
summary { cursor: pointer; color: var(--accent); font-size: 15px; }
details .grid2 { margin-top: 16px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; overflow-x: auto;
  font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 12px 0 0; }
@media (max-width: 560px) {
  main { padding: 26px 16px 48px; } h2 { margin: 40px 0 12px; } .card { padding: 14px; } .sample { padding: 0; }
  .facts { grid-template-columns: 1fr 1fr; gap: 14px 18px; } .canvas { height: 280px; padding-left: 46px; }
  .cards { grid-template-columns: 1fr 1fr; gap: 12px; } table { font-size: 13.5px; } td, th { padding-left: 7px; } th.wide, td.wide { display: none; }
}
@media print { body { background: none; } .card { break-inside: avoid; } .filter, #only-wrong { display: none; } }
)css";

}  // namespace skymm

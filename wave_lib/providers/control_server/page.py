"""The read-only page: one document, nothing from outside, values as text nodes only. Spec: PROV 10.11."""

from __future__ import annotations

from html import escape

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
header { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; border-bottom: 1px solid var(--line); }
h1 { font-size: 1.3rem; margin: 0 auto 0 0; }
h2 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
label { display: grid; font-size: .8rem; gap: .15rem; }
input, button { font: inherit; padding: .35rem .6rem; border: 1px solid var(--line); border-radius: .4rem; }
button { cursor: pointer; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem; }
.card { padding: .6rem .8rem; background: var(--soft); border-radius: .5rem; }
.card b { display: block; font-size: 1.35rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td:first-child, th { white-space: nowrap; }
@media (min-width: 60rem) { td:not(:last-child) { white-space: nowrap; } }
th { font-size: .8rem; font-weight: 600; opacity: .75; }
th:last-child { width: 100%; }
td { min-width: 4rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr.open { cursor: pointer; }
tbody tr.open:hover, tbody tr.open:focus, tbody tr[aria-selected=true] { background: var(--soft); }
#detail { margin-top: 1.5rem; padding: 0 1rem 1rem; border: 1px solid var(--line); border-radius: .5rem; }
.completed, .pass { color: var(--good); } .failed, .blocked { color: var(--bad); }
#said { min-height: 1.5em; margin: .75rem 0 0; }
.quiet { opacity: .7; }
"""

_SCRIPT = """
'use strict';
const byId = id => document.getElementById(id);
function node(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = String(text);
  if (className) made.className = className;
  return made;
}
function plainClass(word) { return /^[a-z-]+$/.test(word || '') ? word : ''; }
function when(stamp) { return stamp ? String(stamp).replace('T', ' ').slice(0, 19) : ''; }
function said(text) { byId('said').textContent = text; }
async function ask(path, query) {
  const filled = Object.entries(query || {}).filter(([, value]) => value !== null && value !== '');
  const token = byId('token').value.trim();
  const answer = await fetch('/api/v1' + path + '?' + new URLSearchParams(filled),
    { headers: token ? { authorization: 'Bearer ' + token } : {}, cache: 'no-store' });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || answer.statusText);
  return body;
}
function table(id, heads, rows, open) {
  const made = node('table');
  const line = made.createTHead().insertRow();
  for (const head of heads) line.append(node('th', head));
  const body = made.createTBody();
  for (const row of rows) {
    const place = body.insertRow();
    for (const cell of row.cells) place.append(node('td', cell.text ?? cell, plainClass(cell.word)));
    if (open) {
      place.className = 'open';
      place.tabIndex = 0;
      const choose = () => {
        for (const other of body.rows) other.ariaSelected = String(other === place);
        open(row.item);
      };
      place.addEventListener('click', choose);
      place.addEventListener('keydown', event => { if (event.key === 'Enter') choose(); });
    }
  }
  if (!rows.length) { const cell = body.insertRow().insertCell(); cell.colSpan = heads.length;
    cell.append(node('span', 'nothing here', 'quiet')); }
  const frame = node('div', null, 'scroll');
  frame.append(made);
  byId(id).replaceChildren(frame);
}
const word = text => ({ text: text ?? '', word: text });
const gateWord = text => ({ text: text ?? '', word: !text || text === 'pass' ? text : 'blocked' });
function showOverview(all) {
  const shown = { 'Runs': all.runCount, 'Benchmarks': all.benchmarkRunCount, 'Proof bundles': all.proofBundleCount,
    'Records': all.coordinationRecordCount, 'Artifacts': all.artifactCount, 'Reviews': all.reviewCount };
  for (const [name, count] of Object.entries(all.runStatusCounts)) shown['Runs ' + name] = count;
  for (const [name, count] of Object.entries(all.gateCounts)) shown['Gate ' + name] = count;
  byId('overview').replaceChildren(...Object.entries(shown).map(([name, count]) => {
    const card = node('div', null, 'card');
    card.append(node('b', count), node('span', name));
    return card;
  }));
}
function showRuns(runs) {
  table('runs', ['Updated', 'Project', 'Lane', 'Wave', 'Run', 'Status', 'Gate', 'Attempts', 'Agents'],
    runs.map(run => ({ item: run, cells: [when(run.updatedAt), run.projectId ?? '', run.lane ?? '', run.wave ?? '',
      run.runId ?? run.runKind, word(run.status), gateWord(run.latestGate), run.attemptCount,
      run.agentIds.join(' ')] })), openRun);
}
function showBenchmarks(runs) {
  table('benchmarks', ['Updated', 'Benchmark', 'Status', 'Adapter', 'Items', 'Reviews', 'Comparable'],
    runs.map(run => ({ cells: [when(run.updatedAt), run.benchmarkRunId, word(run.status), run.adapterId ?? '',
      run.itemCount, run.reviewCount, { true: 'yes', false: 'no' }[run.comparisonReady] ?? 'unknown'] })));
}
const gateOf = event => event.data?.gateSnapshot?.overall ?? {};
function showDetail(found) {
  const run = found.summary;
  byId('detail').hidden = false;
  byId('detail-title').textContent = 'Run ' + [run.projectId, run.lane, 'wave ' + (run.wave ?? '?'), run.runId]
    .filter(part => part).join(' / ') + ': ' + run.status;
  table('gates', ['Time', 'Gate', 'Code', 'Detail'], found.gates.map(event => ({ cells: [when(event.recordedAt),
    gateWord(gateOf(event).gate), gateOf(event).statusCode ?? '', gateOf(event).detail ?? ''] })));
  table('findings', ['Gate', 'Code', 'Detail'], found.gates.slice(-1).flatMap(event =>
    Object.entries(event.data?.gateSnapshot ?? {}).filter(([name, gate]) => name !== 'overall' && gate?.ok === false)
      .map(([name, gate]) => ({ cells: [name, word(gate.statusCode), gate.detail ?? ''] }))));
  table('agents', ['Time', 'Agent', 'What', 'Exit'], found.agentRuns.map(event => ({ cells: [when(event.recordedAt),
    event.data?.agentId ?? event.identity?.agentId ?? '', word(event.action), event.data?.exitCode ?? ''] })));
  table('attempts', ['Time', 'Attempt', 'What'], found.attempts.map(event => ({ cells: [when(event.recordedAt),
    event.data?.attemptNumber ?? '', word(event.action)] })));
  table('artifacts', ['Kind', 'Path', 'Bytes', 'Present'], found.artifacts.map(item => ({ cells: [item.kind ?? '',
    item.path ?? '', item.bytes ?? '', item.present ? 'yes' : 'no'] })));
  table('timeline', ['Time', 'What', 'Which', 'Action', 'By'], found.timeline.slice(-200).reverse().map(event => ({
    cells: [when(event.recordedAt), event.entityType, event.entityId ?? '', word(event.action),
      event.actor ?? event.source ?? ''] })));
  byId('detail').scrollIntoView();
}
async function openRun(run) {
  try {
    const keys = ['workspaceId', 'projectId', 'runKind', 'runId', 'lane', 'wave'];
    showDetail(await ask('/run', Object.fromEntries(keys.map(key => [key, run[key]]))));
    said('');
  } catch (error) { said(error.message); }
}
async function refresh() {
  said('Loading');
  const query = { workspaceId: byId('workspace').value.trim() };
  try {
    const [all, runs, benchmarks] = await Promise.all(
      [ask('/analytics/overview', query), ask('/runs', query), ask('/benchmarks', query)]);
    showOverview(all);
    showRuns(runs);
    showBenchmarks(benchmarks);
    byId('detail').hidden = true;
    byId('data').hidden = false;
    said('As of ' + new Date().toLocaleTimeString());
  } catch (error) { said(error.message); }
}
byId('refresh').addEventListener('click', refresh);
for (const id of ['token', 'workspace']) {
  byId(id).addEventListener('keydown', event => { if (event.key === 'Enter') refresh(); });
}
refresh();
"""

_BODY = """
<header>
  <h1>{title}</h1>
  <label>Workspace <input id="workspace" autocomplete="off" spellcheck="false"></label>
  <label>Token <input id="token" type="password" autocomplete="off"></label>
  <button id="refresh" type="button">Refresh</button>
</header>
<main>
  <p id="said" role="status"></p>
  <div id="data" hidden>
  <section id="overview" class="cards" aria-label="Overview"></section>
  <h2>Runs</h2><section id="runs"></section>
  <section id="detail" hidden>
    <h2 id="detail-title"></h2>
    <h2>Gates</h2><div id="gates"></div>
    <h2>Findings</h2><div id="findings"></div>
    <h2>Attempts</h2><div id="attempts"></div>
    <h2>Agents</h2><div id="agents"></div>
    <h2>Artifacts</h2><div id="artifacts"></div>
    <h2>Timeline</h2><div id="timeline"></div>
  </section>
  <h2>Benchmarks</h2><section id="benchmarks"></section>
  </div>
</main>
"""


def page_html(title: str, nonce: str) -> str:
    """The whole document; its only script carries the nonce of the content security policy."""
    shown = escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{shown}</title>\n<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n<body>'
        f'{_BODY.format(title=shown)}<script nonce="{escape(nonce)}">{_SCRIPT}</script>\n</body>\n</html>\n'
    )

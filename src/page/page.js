'use strict';
/* Asks for the status and the history every second, as long as somebody may be looking, and shows what they say. */

const RENEW_MS = 1000, PATIENCE_MS = 5000;

const FIGURES = [
  ['Keys', 'keys', 'count'], ['Tombstones', 'tombstones', 'count'], ['Values expired', 'expired', 'count'],
  ['Memory of the process', 'memory.process_resident_bytes', 'bytes'], ['Memory limit', 'memory.limit_bytes', 'bytes'],
  ['Memory in records', 'memory.table_bytes', 'bytes'], ['Memory held for records', 'memory.table_resident_bytes', 'bytes'],
  ['Requests', 'requests.total', 'count'], ['Refused (4xx)', 'requests.status_4xx', 'count'],
  ['Failed (5xx)', 'requests.status_5xx', 'count'], ['Waiting for a change', 'connections.held', 'count'],
  ['Half answered within', 'latency_seconds.p50', 'time'], ['99 % answered within', 'latency_seconds.p99', 'time'],
  ['The longest', 'latency_seconds.max', 'time'], ['Connections', 'connections.open', 'count'],
  ['Connections at most', 'connections.max', 'count'], ['Connections accepted', 'connections.accepted', 'count'],
  ['Refused: network', 'connections.refused_network', 'count'], ['Refused: too many', 'connections.refused_full', 'count'],
  ['Received', 'bytes.received', 'bytes'], ['Sent', 'bytes.sent', 'bytes'],
  ['Tried again', 'relays.retries', 'count'], ['Waited for a node', 'relays.parked', 'count'],
  ['Answered by no node', 'relays.unanswered', 'count'], ['Refused as another partition’s', 'relays.misrouted', 'count'],
  ['Largest value', 'limits.value_max_bytes', 'bytes'],
];

const NOW = ['requests.total', 'requests.status_4xx', 'requests.status_5xx', 'latency_seconds.max', 'connections.open',
  'relays.retries', 'bytes.received', 'bytes.sent'];

function stateOf({draining, ready, cluster, partitions}) {
  if (draining) return 'stopping';
  if (cluster) {
    const permille = cluster.gathered_permille;
    return ready ? 'ready' : permille < 1000 ? `gathering ${Math.floor(permille / 10)} %` : 'not ready';
  }
  const reached = partitions.filter(p => p.reached).length;
  if (reached === partitions.length) return 'ready';
  return reached ? `ready for ${reached} of ${plural(partitions.length, 'partition')}` : 'not ready';
}

function showHeader(status) {
  const state = stateOf(status);
  say('role', status.role === 'node' ? 'node' : 'front-end');
  say('host', location.host);
  say('state', state);
  at('state').className = state === 'ready' ? 'ready' : status.ready ? 'busy' : 'bad';
  say('uptime', `up ${units.span(status.uptime_seconds)}`);
  say('version', `version ${status.version}`);
  document.title = `${location.host} · Velour Fog`;
  document.body.classList.toggle('frontend', status.role !== 'node');
}

function showProblems(problems = []) {
  if (at('problems').dataset.said === problems.join('\n')) return;
  at('problems').dataset.said = problems.join('\n');
  at('problems').replaceChildren(...problems.map(problem => html('li', {}, problem)));
}

function showFigures(status) {
  const find = place => place.split('.').reduce((object, name) => object?.[name], status);
  const rows = figures => figures.map(([label, place, unit]) => html('div', {}, html('dt', {}, label),
    html('dd', {}, find(place) === null ? 'none' : units[unit](find(place)))));
  const known = FIGURES.filter(([, place]) => find(place) !== undefined);
  at('figures').replaceChildren(...rows(known));
  at('now').replaceChildren(...rows(known.filter(([, place]) => NOW.includes(place))));
}

function show(status, history) {
  const again = started !== null && status.started !== started;
  started = status.started;
  showHeader(status);
  document.querySelector('main').hidden = false;
  showProblems(status.problems);
  showCluster(status);
  showFigures(status);
  if (again) forgetHistory(); /* what was asked for begins where the life before ended */
  else takeHistory(history);
  drawPlots();
  answered = new Date();
  document.body.classList.remove('stale');
  say('lost', '');
}

function showLost(what) {
  say('lost', answered ? `${what} What stands here is of ${answered.toLocaleString('en-GB')}.` : what);
  say('state', 'no answer');
  at('state').className = 'bad';
  document.body.classList.add('stale');
}

/* null when there is no answer. */
async function ask(path) {
  try {
    const response = await fetch(path, {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/* A page may be older than what answers it by now. */
function showAnswers(status, history) {
  if (!status || !history) return showLost(`There is no answer from ${location.host}.`);
  try {
    show(status, history);
  } catch {
    showLost(`The answer of ${location.host} makes no sense to this page; load it anew.`);
  }
}

let started = null, answered = null, timer = 0, asking = false;
async function renew() {
  if (document.hidden || asking) return;
  const began = performance.now();
  asking = true;
  const answers = await Promise.all([ask('/-/status'), ask(`/-/history?since=${past.next}`)]);
  asking = false;
  showAnswers(...answers);
  renewIn(Math.max(RENEW_MS / 4, RENEW_MS - (performance.now() - began)));
}

function renewIn(ms) {
  clearTimeout(timer);
  timer = setTimeout(renew, ms);
}

document.addEventListener('visibilitychange', () => renewIn(0));
renew();

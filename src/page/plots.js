'use strict';
/* The last minutes as plots, out of /-/history. All share one time axis and one cursor. */

const WINDOW_SECONDS = 300, HEIGHT = 148;
const MARGIN = {left: 58, right: 12, top: 8, bottom: 22};
const GAP_SECONDS = 3; /* samples further apart are not joined */

const PLOTS = [
  {id: 'requests', title: 'Requests', unit: 'a second', format: units.count, series: [['requests_per_second', '']]},
  {id: 'latency', title: 'Time to answer', unit: 'within, logarithmic', format: units.time, log: true,
    series: [['latency_p50_seconds', 'half'], ['latency_p99_seconds', '99 %'], ['latency_max_seconds', 'all']]},
  {id: 'push', title: 'Propagation to a member', unit: 'within, logarithmic', format: units.time, log: true,
    series: [['push_p50_seconds', 'half'], ['push_p99_seconds', '99 %']]},
  {id: 'memory', title: 'Memory of the process', unit: '', format: units.bytes, binary: true,
    series: [['resident_bytes', '']]},
  {id: 'keys', title: 'Keys', unit: '', format: units.count, series: [['keys', 'with a value'], ['records', 'deleted ones too']]},
];

const past = {samples: [], columns: {}, next: 0, cursor: null};

/* The samples of an answer, behind those that are here already unless something lies between. */
function takeHistory({columns, first, next, samples}) {
  past.columns = Object.fromEntries(columns.map((name, i) => [name, i]));
  if (first !== past.next) past.samples = [];
  const all = [...past.samples, ...samples], newest = all.at(-1)?.[0];
  past.samples = all.filter(([time]) => newest - time <= WINDOW_SECONDS);
  past.next = next;
}

function forgetHistory() {
  past.samples = [];
  past.next = 0;
}

const valueOf = (sample, name) => sample[past.columns[name]];

/* A plot's lines, but none that never has a value while others have: a front-end does not know all that a node does. */
function linesOf(plot) {
  const lines = plot.series.map(([name, label], i) => ({name, label, style: `s${i}`}));
  const known = lines.filter(({name}) => past.samples.some(sample => valueOf(sample, name) !== null));
  return known.length ? known : lines;
}

/* Scales */

function linear(most, binary) {
  const base = binary && most > 0 ? 1024 ** Math.floor(Math.log(most) / Math.log(1024)) : 1;
  const rough = Math.max(most / base, binary ? 0.001 : 1) / 3, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(n => n * power >= rough) * power * base;
  const whole = binary ? step : Math.max(1, step), top = Math.max(1, Math.ceil(most / whole)) * whole;
  const ticks = [];
  for (let value = 0; value <= top + whole / 2; value += whole) ticks.push(value);
  return {ticks, part: value => value / top};
}

function logarithmic(least, most) {
  const low = Math.floor(Math.log10(Math.max(least, 1e-6))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(most, 1e-6))));
  const ticks = [], step = Math.ceil((high - low) / 4);
  for (let power = low; power <= high; power += step) ticks.push(10 ** power);
  return {ticks, part: value => (Math.log10(Math.max(value, 1e-6)) - low) / (high - low)};
}

function scaleOf(plot, lines) {
  let least = Infinity, most = 0;
  for (const sample of past.samples)
    for (const {name} of lines) {
      const value = valueOf(sample, name);
      if (value === null) continue;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
  if (least === Infinity) [least, most] = [1e-4, 1e-3];
  return {least, most, ...plot.log ? logarithmic(least, most) : linear(most, plot.binary)};
}

/* Drawing */

function line(name, x, y) {
  let path = '', last = null;
  for (const sample of past.samples) {
    const value = valueOf(sample, name), time = sample[0];
    if (value === null) {
      last = null;
      continue;
    }
    const joined = last !== null && time - last < GAP_SECONDS;
    path += `${joined ? 'L' : 'M'}${x(time).toFixed(1)} ${y(value).toFixed(1)}${joined ? '' : 'h.01'}`;
    last = time;
  }
  return path;
}

function axes(plot, scale, width, x, y, now) {
  const bottom = HEIGHT - MARGIN.bottom, g = svg('g', {class: 'axes'});
  for (const tick of scale.ticks)
    g.append(svg('path', {d: `M${MARGIN.left} ${y(tick)}H${width - MARGIN.right}`}),
      svg('text', {x: MARGIN.left - 8, y: y(tick) + 4, 'text-anchor': 'end'}, plot.format(tick)));
  for (let minutes = 5; minutes >= 0; minutes--) {
    if (minutes === 4 && width < 340) continue;
    const anchor = minutes === 5 ? 'start' : minutes ? 'middle' : 'end';
    g.append(svg('text', {x: x(now - minutes * 60), y: bottom + 16, 'text-anchor': anchor},
      minutes ? `−${minutes}${minutes === 5 ? ' min' : ''}` : 'now'));
  }
  return g;
}

function cursorAt(lines, sample, x, y) {
  const g = svg('g', {class: 'cursor'});
  g.append(svg('path', {d: `M${x(sample[0])} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}`}));
  for (const {name, style} of lines) {
    const value = valueOf(sample, name);
    if (value !== null) g.append(svg('circle', {class: style, cx: x(sample[0]), cy: y(value), r: 3.5}));
  }
  return g;
}

/* What stands beside the title: the values now, or those under the cursor. */
function showValues(plot, lines, sample) {
  at(`${plot.id}-values`).replaceChildren(...lines.map(({name, label, style}) => {
    const value = valueOf(sample, name);
    const key = label ? [svg('svg', {class: 'key', width: 16, height: 8, 'aria-hidden': true},
      svg('path', {class: style, d: 'M1 4h14'})), `${label} `] : [];
    return html('span', {}, ...key, html('b', {}, value === null ? '–' : plot.format(value)));
  }));
}

/* For who does not see it. */
function describePlot({title, format}, lines, last, most) {
  const now = lines.map(({name, label}) => {
    const value = valueOf(last, name);
    return `${label} now ${value === null ? 'none' : format(value)}`.trim();
  });
  return `${title}: ${now.join(', ')}${most ? `; at most ${format(most)} in the last five minutes` : ''}.`;
}

function drawPlot(plot) {
  const place = at(`${plot.id}-plot`), width = Math.floor(place.clientWidth), last = past.samples.at(-1);
  if (!last || width === 0) return;
  const now = last[0], lines = linesOf(plot), scale = scaleOf(plot, lines), bottom = HEIGHT - MARGIN.bottom;
  const x = time => width - MARGIN.right - (now - time) / WINDOW_SECONDS * (width - MARGIN.left - MARGIN.right);
  const y = value => bottom - scale.part(value) * (bottom - MARGIN.top);
  const sample = past.samples.find(s => s[0] === past.cursor);
  const picture = svg('svg', {width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img',
    'aria-label': describePlot(plot, lines, last, scale.most)}, axes(plot, scale, width, x, y, now));
  if (!plot.log && lines.length === 1) picture.append(svg('path', {class: 'area', d: area(lines[0].name, x, y, bottom)}));
  for (const {name, style} of [...lines].reverse()) picture.append(svg('path', {class: `line ${style}`, d: line(name, x, y)}));
  if (sample) picture.append(cursorAt(lines, sample, x, y));
  place.replaceChildren(picture);
  showValues(plot, lines, sample ?? last);
}

/* What lies under a line, piece by piece. */
function area(name, x, y, bottom) {
  return line(name, x, y).split('M').filter(Boolean).map(piece => {
    const points = piece.replace('h.01', '').split('L').map(point => point.split(' '));
    return `M${points[0][0]} ${bottom}L${points.map(point => point.join(' ')).join('L')}L${points.at(-1)[0]} ${bottom}Z`;
  }).join('');
}

function drawPlots() {
  for (const plot of PLOTS) drawPlot(plot);
}

/* The cursor */

function putCursor(time) {
  past.cursor = time;
  const now = past.samples.at(-1)?.[0];
  say('reading', time === null || now === undefined ? '' : `as of ${units.span(now - time)} ago`);
  drawPlots();
}

function onPointer(event) {
  const bounds = event.currentTarget.getBoundingClientRect(), wide = bounds.width - MARGIN.left - MARGIN.right;
  const part = (bounds.right - MARGIN.right - event.clientX) / wide, now = past.samples.at(-1)?.[0];
  if (now === undefined) return;
  const time = now - part * WINDOW_SECONDS;
  putCursor(past.samples.reduce((a, b) => Math.abs(b[0] - time) < Math.abs(a[0] - time) ? b : a)[0]);
}

function onKey(event) {
  const step = {ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30}[event.key], samples = past.samples;
  if (event.key === 'Escape') putCursor(null);
  if (!step || !samples.length) return;
  event.preventDefault();
  const from = samples.findIndex(s => s[0] === past.cursor);
  putCursor(samples[Math.max(0, Math.min(samples.length - 1, (from < 0 ? samples.length - 1 : from) + step))][0]);
}

function makePlots() {
  for (const {id, title, unit} of PLOTS) {
    const place = html('div', {id: `${id}-plot`, class: 'plot', tabindex: 0, role: 'group', 'aria-labelledby': `${id}-title`,
      'aria-describedby': 'plot-help'});
    place.addEventListener('pointermove', onPointer);
    place.addEventListener('pointerleave', () => putCursor(null));
    place.addEventListener('keydown', onKey);
    place.addEventListener('blur', () => putCursor(null));
    at('plots').append(html('figure', {id: `${id}-figure`}, html('figcaption', {},
      html('h3', {id: `${id}-title`}, title, ...unit ? [html('small', {}, ` ${unit}`)] : []),
      html('div', {id: `${id}-values`, class: 'values'})), place));
  }
  at('plots').append(html('figure', {id: 'now-figure'}, html('figcaption', {}, html('h3', {}, 'In figures')), html('dl', {id: 'now'})));
  at('plots').append(html('p', {id: 'plot-help', class: 'unseen'}, 'The arrow keys read single seconds.'));
  new ResizeObserver(drawPlots).observe(at('plots'));
}
makePlots();

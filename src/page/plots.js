'use strict';
/* The last minutes as plots, out of /-/history. All share one time axis and one cursor. */

const WINDOW_SECONDS = 300, HEIGHT = 148;
const MARGIN = {left: 58, right: 12, top: 8, bottom: 22};
const GAP_SECONDS = 3; /* samples further apart are not joined */

const PLOTS = [
  {id: 'requests', title: 'Requests', unit: 'a second', format: units.count, series: [['requests_per_second', '']]},
  {id: 'latency', title: 'Time to answer', unit: 'logarithmic', format: units.time, log: true,
    series: [['latency_p50_seconds', 'half within'], ['latency_p99_seconds', '99 %'], ['latency_max_seconds', 'all']]},
  {id: 'push', title: 'Propagation to a member', unit: 'logarithmic', format: units.time, log: true,
    series: [['push_p50_seconds', 'half within'], ['push_p99_seconds', '99 %']]},
  {id: 'memory', title: 'Memory of the process', unit: '', format: units.bytes, binary: true,
    series: [['process_resident_bytes', '']]},
  {id: 'keys', title: 'Keys', unit: '', format: units.count, series: [['keys', '']]},
];

const series = {samples: [], columns: {}, next: 0, cursor: null};

/* The samples of an answer, behind those that are here already unless something lies between. */
function takeHistory({columns, first, next, samples, samples_max: most}) {
  series.columns = Object.fromEntries(columns.map((name, i) => [name, i]));
  if (first !== series.next) series.samples = [];
  series.samples = [...series.samples, ...samples].slice(-most);
  series.next = next;
}

function forgetHistory() {
  series.samples = [];
  series.next = 0;
}

const valueOf = (sample, name) => sample[series.columns[name]];

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
  const ticks = [];
  for (let power = low; power <= high; power++) ticks.push(10 ** power);
  return {ticks, part: value => (Math.log10(Math.max(value, 1e-6)) - low) / (high - low)};
}

function scaleOf(plot) {
  let least = Infinity, most = 0;
  for (const sample of series.samples)
    for (const [name] of plot.series) {
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
  for (const sample of series.samples) {
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
    const anchor = minutes === 5 ? 'start' : minutes ? 'middle' : 'end';
    g.append(svg('text', {x: x(now - minutes * 60), y: bottom + 16, 'text-anchor': anchor},
      minutes ? `−${minutes}${minutes === 5 ? ' min' : ''}` : 'now'));
  }
  return g;
}

function cursorAt(plot, sample, x, y) {
  const g = svg('g', {class: 'cursor'});
  g.append(svg('path', {d: `M${x(sample[0])} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}`}));
  plot.series.forEach(([name], i) => {
    const value = valueOf(sample, name);
    if (value !== null) g.append(svg('circle', {class: `s${i}`, cx: x(sample[0]), cy: y(value), r: 3.5}));
  });
  return g;
}

/* What stands beside the title: the values now, or those under the cursor. */
function showValues(plot, sample) {
  at(`${plot.id}-values`).replaceChildren(...plot.series.map(([name, label], i) => {
    const value = sample ? valueOf(sample, name) : null;
    const key = plot.series.length > 1 ? [svg('svg', {class: 'key', width: 16, height: 8, 'aria-hidden': true},
      svg('path', {class: `s${i}`, d: 'M1 4h14'})), `${label} `] : [];
    return html('span', {}, ...key, html('b', {}, value === null ? '–' : plot.format(value)));
  }));
}

function drawPlot(plot) {
  const place = at(`${plot.id}-plot`), width = Math.floor(place.clientWidth), samples = series.samples;
  const figure = at(`${plot.id}-figure`);
  figure.hidden = samples.length > 0 && plot.series.every(([name]) => series.columns[name] === undefined);
  if (!samples.length || width === 0) return;
  const now = samples.at(-1)[0], scale = scaleOf(plot), bottom = HEIGHT - MARGIN.bottom;
  const x = time => width - MARGIN.right - (now - time) / WINDOW_SECONDS * (width - MARGIN.left - MARGIN.right);
  const y = value => bottom - scale.part(value) * (bottom - MARGIN.top);
  const sample = samples.find(s => s[0] === series.cursor) ?? null;
  const last = samples.at(-1);
  const label = `${plot.title}. ` + plot.series.map(([name, said]) =>
    `${said} now ${valueOf(last, name) === null ? 'none' : plot.format(valueOf(last, name))}`).join(', ') +
    (scale.most ? `; at most ${plot.format(scale.most)} in the last five minutes` : '');
  const picture = svg('svg', {width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': label.trim()},
    axes(plot, scale, width, x, y, now));
  if (!plot.log && plot.series.length === 1)
    picture.append(svg('path', {class: 'area', d: area(plot.series[0][0], x, y, bottom)}));
  plot.series.forEach(([name], i) => picture.append(svg('path', {class: `line s${i}`, d: line(name, x, y)})));
  if (sample) picture.append(cursorAt(plot, sample, x, y));
  place.replaceChildren(picture);
  showValues(plot, sample ?? last);
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
  series.cursor = time;
  const now = series.samples.at(-1)?.[0];
  say('reading', time === null || now === undefined ? '' : `as of ${units.span(now - time)} ago`);
  drawPlots();
}

function onPointer(event) {
  const bounds = event.currentTarget.getBoundingClientRect(), wide = bounds.width - MARGIN.left - MARGIN.right;
  const part = (bounds.right - MARGIN.right - event.clientX) / wide, now = series.samples.at(-1)?.[0];
  if (now === undefined) return;
  const time = now - part * WINDOW_SECONDS;
  putCursor(series.samples.reduce((a, b) => Math.abs(b[0] - time) < Math.abs(a[0] - time) ? b : a)[0]);
}

function onKey(event) {
  const step = {ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30}[event.key], samples = series.samples;
  if (event.key === 'Escape') putCursor(null);
  if (!step || !samples.length) return;
  event.preventDefault();
  const from = samples.findIndex(s => s[0] === series.cursor);
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
  at('plots').append(html('figure', {id: 'now-figure'}, html('figcaption', {}, html('h3', {}, 'Since the start')), html('dl', {id: 'now'})));
  at('plots').append(html('p', {id: 'plot-help', class: 'unseen'}, 'The arrow keys read single seconds.'));
  new ResizeObserver(drawPlots).observe(at('plots'));
}
makePlots();

'use strict';
/* The cluster as a picture: a box for each partition, a tile for each member; and the same as a table. */

const SKEW_SECONDS = 1; /* a clock that differs by more is told */
const LABELLED_MAX = 64; /* members; more than that are small squares */
const BOX = {width: 232, gap: 16, pad: 12, head: 38};
const TILE = {width: 188, most: 400, height: 52, gap: 8};
const SQUARE = {width: 18, height: 18, gap: 4};
const FRONT = {width: 232, height: 52, gap: 44};

/* What /-/status says, of either role: [{title, bad, ready, total, members: [{name, state, text, part, own, skew, cells}]}]. Of very many
   members only some are told one by one. `state` is ready, busy (gathers or leaves), down or wrong; `part` how much is gathered, or
   undefined. */

function skewText(seconds) {
  if (!(Math.abs(seconds) > SKEW_SECONDS)) return '';
  const off = Math.abs(seconds);
  return `clock ${seconds > 0 ? '+' : '−'}${off < 60 ? units.time(off) : units.span(off)}`;
}

function memberOf(name, word, permille, skew, cells, own = false) {
  const gathers = word === 'joining';
  const state = word.startsWith('wrong') ? 'wrong' : {ready: 'ready', alias: 'ready', down: 'down'}[word] ?? 'busy';
  const text = gathers ? `gathering ${Math.floor(permille / 10)} %` : word;
  return {name, state, text, part: gathers ? permille / 1000 : undefined, own, cells,
    skew: state === 'down' ? '' : skewText(skew)};
}

const byName = (a, b) => a.name.localeCompare(b.name, 'en', {numeric: true});

function groupsOfNode({cluster}) {
  const members = Object.entries(cluster.members).map(([name, word], i) => memberOf(
    name, word, cluster.members_gathered_permille[name], cluster.clock_skew_seconds[name], [], i === 0));
  members.sort((a, b) => b.own - a.own || byName(a, b));
  const partition = cluster.partition === '-' ? 'Cluster' : `Partition ${cluster.partition}, cluster`;
  const counts = cluster.member_counts;
  return [{title: `${partition} ${cluster.name}`, bad: false, members, ready: counts.ready, total: sumOf(counts)}];
}

function wordOf(node) {
  if (node.state === 'wrong_partition') return `wrong partition ${node.says}`;
  if (node.state !== 'unready') return node.state;
  return node.phase === 'ready' || node.phase === '' ? 'not ready' : node.phase;
}

function groupOfPartition(name, partition) {
  const members = Object.entries(partition.nodes).map(([address, node]) => memberOf(
    address, wordOf(node), node.gathered_permille, node.clock_skew_seconds,
    [node.in_flight, node.requests, node.failures].map(units.count)));
  members.sort(byName);
  const counts = partition.node_counts;
  return {title: `${name} ${partition.number}`, bad: !partition.reached, members, ready: counts.ready + counts.alias, total: sumOf(counts)};
}

function groupsOf(status) {
  if (status.role === 'node') return groupsOfNode(status);
  return [...status.partitions.map(p => groupOfPartition('Partition', p)),
    ...status.previous_partitions.map(p => groupOfPartition('Previous', p)),
    ...status.next_partitions.map(p => groupOfPartition('Next', p))];
}

const sumOf = counts => Object.values(counts).reduce((sum, count) => sum + count, 0);

/* The picture */

const MARKS = { /* inside of a circle of radius 9: not by colour alone */
  ready: 'M-4 .2l2.8 2.9L4.2-3',
  busy: 'M-4.2 0h.01M0 0h.01M4.2 0h.01',
  down: 'M-3.2-3.2l6.4 6.4m0-6.4l-6.4 6.4',
  wrong: 'M0-4.5v5M0 4h.01',
};

/* As much as there is room for, the middle left out. */
function fitted(text, width, perCharacter) {
  const most = Math.max(8, Math.floor(width / perCharacter));
  if (text.length <= most) return text;
  const half = (most - 1) / 2;
  return text.slice(0, Math.ceil(half)) + '…' + text.slice(text.length - Math.floor(half));
}

function mark(x, y, state) {
  return svg('g', {class: 'mark', transform: `translate(${x} ${y})`}, svg('circle', {r: 9}),
    svg('path', {d: MARKS[state]}));
}

function tile(member, x, y, width) {
  const {name, state, text, skew, part, own} = member, left = 40;
  const said = [text, own && 'this node', skew].filter(Boolean).join(' · ');
  const g = svg('g', {class: `tile ${state}${skew ? ' skewed' : ''}${own ? ' own' : ''}`, transform: `translate(${x} ${y})`},
    svg('title', {}, `${name}: ${said}`),
    svg('rect', {width, height: TILE.height, rx: 8}), mark(20, TILE.height / 2, state),
    svg('text', {class: 'name', x: left, y: 22}, fitted(name, width - left - 8, 7.4)),
    svg('text', {class: 'said', x: left, y: 39}, fitted(said, width - left - 8, 6.4)));
  if (part !== undefined)
    g.append(svg('rect', {class: 'bar', x: left, y: 44, width: width - left - 12, height: 4, rx: 2}),
      svg('rect', {class: 'done', x: left, y: 44, width: (width - left - 12) * part, height: 4, rx: 2}));
  return g;
}

function square({name, state, text, skew}, x, y) {
  return svg('g', {class: `tile ${state}${skew ? ' skewed' : ''}`, transform: `translate(${x} ${y})`},
    svg('title', {}, [name, text, skew].filter(Boolean).join(' · ')),
    svg('rect', {width: SQUARE.width, height: SQUARE.height, rx: 4}));
}

/* Where a box's members go, and how high that makes it. */
function boxLayout(group, width, labelled) {
  const size = labelled ? TILE : SQUARE, inner = width - 2 * BOX.pad;
  const most = Math.max(1, Math.floor((inner + size.gap) / (size.width + size.gap)));
  const columns = Math.max(1, Math.min(most, group.members.length));
  const rows = Math.max(1, Math.ceil(group.members.length / columns));
  const stretched = Math.min((inner - size.gap * (columns - 1)) / columns, TILE.most);
  return {columns, labelled, width: labelled ? stretched : size.width, size,
    height: BOX.head + rows * (size.height + size.gap) - size.gap + BOX.pad};
}

function box(group, layout, x, y, width, height) {
  const {ready, total, members} = group, some = total > members.length ? `, ${members.length} shown` : '';
  const g = svg('g', {class: `box${group.bad ? ' bad' : ''}`, transform: `translate(${x} ${y})`},
    svg('rect', {class: 'frame', width, height, rx: 12}),
    svg('text', {class: 'heading', x: BOX.pad + 2, y: 24}, fitted(group.title, width - 110, 7.6)),
    svg('text', {class: 'count', x: width - BOX.pad - 2, y: 24, 'text-anchor': 'end'}, `${ready} of ${total} ready${some}`));
  members.forEach((member, i) => {
    const column = i % layout.columns, row = Math.floor(i / layout.columns);
    const left = BOX.pad + column * (layout.width + layout.size.gap);
    const top = BOX.head + row * (layout.size.height + layout.size.gap);
    g.append(layout.labelled ? tile(member, left, top, layout.width) : square(member, left, top));
  });
  return g;
}

/* This front-end, with a line to each partition as long as they stand side by side. */
function front(width, places) {
  const x = (width - FRONT.width) / 2, middle = width / 2, top = FRONT.height, bottom = FRONT.height + FRONT.gap;
  const g = svg('g', {class: 'front'});
  for (const {x: left, width: wide, bad} of places) {
    const end = left + wide / 2, bend = (top + bottom) / 2;
    g.append(svg('path', {class: bad ? 'link bad' : 'link',
      d: `M${middle} ${top}C${middle} ${bend + 8} ${end} ${bend - 8} ${end} ${bottom}`}));
  }
  g.append(svg('rect', {x, width: FRONT.width, height: FRONT.height, rx: 10}),
    svg('text', {class: 'heading', x: middle, y: 22, 'text-anchor': 'middle'}, fitted(location.host, FRONT.width, 7.8)),
    svg('text', {class: 'said', x: middle, y: 39, 'text-anchor': 'middle'}, 'this front-end'));
  return g;
}

function draw(groups, isFront, width) {
  const labelled = groups.reduce((sum, g) => sum + g.members.length, 0) <= LABELLED_MAX;
  const columns = Math.min(groups.length, Math.max(1, Math.floor((width + BOX.gap) / (BOX.width + BOX.gap))));
  const wide = (width - BOX.gap * (columns - 1)) / columns;
  const layouts = groups.map(group => boxLayout(group, wide, labelled));
  const picture = svg('svg', {width, role: 'img'}), places = [];
  let y = isFront ? FRONT.height + FRONT.gap : 0;
  for (let first = 0; first < groups.length; first += columns) {
    const row = layouts.slice(first, first + columns), height = Math.max(...row.map(l => l.height));
    row.forEach((layout, i) => {
      const x = i * (wide + BOX.gap), group = groups[first + i];
      picture.append(box(group, layout, x, y, wide, height));
      if (first === 0) places.push({x, width: wide, bad: group.bad});
    });
    y += height + BOX.gap;
  }
  if (isFront) picture.prepend(front(width, places));
  const height = y - BOX.gap;
  return fill(picture, {height, viewBox: `0 0 ${width} ${height}`, 'aria-label': describe(groups)}, []);
}

function describe(groups) {
  return groups.map(({title, members, ready, total}) => {
    const rest = members.filter(m => m.state !== 'ready' || m.skew).map(m => `${m.name} ${[m.text, m.skew].filter(Boolean).join(', ')}`);
    return `${title}: ${ready} of ${total} ready${rest.length ? '; ' + rest.join('; ') : ''}.`;
  }).join(' ');
}

/* The table */

function tabulate(groups, isFront) {
  const names = ['Member', 'State', 'Clock', ...isFront ? ['In flight', 'Requests', 'Failures'] : []];
  at('member-fields').replaceChildren(...names.map(name => html('th', {scope: 'col'}, name)));
  at('members').replaceChildren(...groups.flatMap(({title, members}) => [
    ...isFront ? [html('tr', {class: 'group'}, html('th', {scope: 'rowgroup', colspan: names.length}, title))] : [],
    ...members.map(m => html('tr', {class: m.state}, html('th', {scope: 'row'}, m.name),
      html('td', {}, m.own ? `${m.text}, this node` : m.text), html('td', {}, m.skew.replace('clock ', '') || 'in step'),
      ...m.cells.map(cell => html('td', {}, cell))))]));
}

/* What has changed is read aloud. */
let told = new Map();
function tellNews(groups) {
  const now = new Map(groups.flatMap(g => g.members.map(m => [`${g.title} ${m.name}`, [m.name, m.part === undefined ? m.text : 'gathering']])));
  const news = [...now].filter(([key, [, text]]) => told.size && told.get(key)?.[1] !== text).map(([, [name, text]]) => `${name} is ${text}.`);
  for (const [key, [name]] of told) if (!now.has(key)) news.push(`${name} is gone.`);
  if (news.length) say('news', news.join(' '));
  told = now;
}

let drawn = '', shown = null;
function showPicture() {
  if (!shown) return;
  const {groups, isFront} = shown, width = Math.floor(at('picture').clientWidth);
  const what = JSON.stringify([width, groups.map(g => ({...g, members: g.members.map(m => ({...m, cells: 0}))}))]);
  if (what === drawn || width === 0) return;
  drawn = what;
  at('picture').replaceChildren(draw(groups, isFront, width));
}

function showCluster(status) {
  const groups = groupsOf(status), isFront = status.role !== 'node', sum = name => groups.reduce((n, g) => n + g[name], 0);
  shown = {groups, isFront};
  showPicture();
  tabulate(groups, isFront);
  tellNews(groups);
  const partitions = isFront ? `${plural(status.partitions.length, 'partition')}, ` : '';
  say('summary', `${partitions}${units.count(sum('ready'))} of ${plural(sum('total'), 'member')} ready`);
}

new ResizeObserver(showPicture).observe(at('picture'));

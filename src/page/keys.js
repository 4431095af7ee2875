'use strict';
/* The box to get, set and delete a key, and the list of keys. */

const SHOWN_BYTES = 64 * 1024; /* of a value */
const LISTED_MAX = 200;        /* keys */
const HEX_BYTES = 512;         /* of a value that is no text */

/* The beginning of a body; what follows is not fetched. */
async function bodyStart(response, most) {
  const chunks = [], reader = response.body?.getReader();
  let length = 0, ended = !reader;
  while (!ended && length <= most) {
    const {done, value} = await reader.read();
    ended = done;
    if (value) chunks.push(value);
    length += value?.length ?? 0;
  }
  if (!ended) reader.cancel().catch(() => {});
  const bytes = new Uint8Array(await new Blob(chunks).arrayBuffer());
  return {bytes: bytes.subarray(0, most), cut: length > most};
}

function hexOf(bytes) {
  const lines = [];
  for (let i = 0; i < Math.min(bytes.length, HEX_BYTES); i += 16) {
    const part = [...bytes.subarray(i, i + 16)];
    const hex = part.map(b => b.toString(16).padStart(2, '0')).join(' ').padEnd(48);
    lines.push(`${hex} ${part.map(b => b >= 32 && b < 127 ? String.fromCharCode(b) : '.').join('')}`);
  }
  return lines.join('\n') + (bytes.length > HEX_BYTES ? '\n…' : '');
}

/* UTF-8 as text, with up to three bytes of a character left out where the value was cut; all else in hexadecimal. */
function textOf(bytes, cut) {
  for (let less = 0; less <= (cut ? 3 : 0); less++)
    try {
      return new TextDecoder('utf-8', {fatal: true}).decode(bytes.subarray(0, bytes.length - less));
    } catch { /* the next one */ }
  return hexOf(bytes);
}

function showOutcome(text, bad) {
  at('answer').hidden = false;
  at('answer').removeAttribute('aria-busy');
  at('answer').className = bad ? 'bad' : 'good';
  at('answer-fields').replaceChildren();
  at('body').hidden = true;
  at('body').textContent = '';
  at('outcome').textContent = text;
}

function putField(name, value) {
  if (value !== null && value !== undefined)
    at('answer-fields').append(html('div', {}, html('dt', {}, name), html('dd', {}, value)));
}

function showVersion(version) {
  const time = new Date(Number(version) / 1000);
  putField('Version', version);
  if (version && !Number.isNaN(time.getTime())) putField('Written', time.toLocaleString('en-GB', {dateStyle: 'medium', timeStyle: 'medium'}));
}

async function showAnswer(method, path, number, response) {
  const {bytes, cut} = await bodyStart(response, SHOWN_BYTES), has = name => response.headers.get(name);
  if (number !== asks) return;
  const done = response.status === 204 ? 'there is no such key'
    : response.ok ? {GET: 'here it is', PUT: 'set', DELETE: 'deleted'}[method] : 'refused';
  const size = Number(has('Content-Length') ?? bytes.length);
  showOutcome(`${response.status} ${response.statusText}: ${done}`, !response.ok);
  putField('Request', `${method} ${path}`);
  showVersion(has('Fog-Version'));
  if (method === 'GET' && response.status === 200) {
    putField('Type', has('Content-Type'));
    putField('Size', size < 1024 ? plural(size, 'byte') : `${units.bytes(size)} (${plural(size, 'byte')})`);
  }
  putField('Seconds left', has('Fog-TTL'));
  at('body').textContent = textOf(bytes, cut) + (cut ? `\n… the first ${units.bytes(SHOWN_BYTES)} of it` : '');
  at('body').hidden = bytes.length === 0;
}

/* null when a type is none that a request can have. */
function headersToSet() {
  const headers = new Headers();
  try {
    if (at('type').value) headers.set('Content-Type', at('type').value);
    if (at('ttl').value) headers.set('Fog-TTL', at('ttl').value);
    return headers;
  } catch {
    return null;
  }
}

/* "." and ".." are the only keys that a browser cannot ask for: it shortens such paths, escaped or not. */
let asks = 0; /* an answer that comes after another one was asked for is not shown */
async function askKey(method, path) {
  const number = ++asks;
  if (/^\/(\.|%2e){1,2}$/i.test(path))
    return showOutcome('A browser cannot ask for this key; curl --path-as-is can.', true);
  const value = at('value').value, isSet = method === 'PUT', headers = isSet ? headersToSet() : {};
  if (!headers) return showOutcome('This content type cannot be sent.', true);
  /* As bytes: the type of a text would be the browser's choice. */
  const body = isSet ? new TextEncoder().encode(value) : undefined;
  at('answer').setAttribute('aria-busy', 'true');
  try {
    await showAnswer(method, path, number, await fetch(path, {method, body, headers, cache: 'no-store'}));
  } catch {
    if (number === asks) showOutcome('There is no answer.', true);
  }
}

at('try').addEventListener('submit', event => {
  event.preventDefault();
  const method = event.submitter?.value || 'GET';
  try {
    askKey(method, '/' + encodeURIComponent(at('key').value));
  } catch {
    showOutcome('This key is not text that can be sent.', true);
  }
});

/* The list: lines are keys as they stand in a path. A slash is asked for escaped: of two, the first one would begin the name of a host, and
   what stands between them might be shortened. */

function decoded(line) {
  try {
    return decodeURIComponent(line);
  } catch {
    return null; /* no UTF-8 */
  }
}

function listItem(line) {
  const name = decoded(line), button = html('button', {type: 'button'}, name ?? line);
  button.addEventListener('click', () => {
    at('key').value = name ?? '';
    if (at('key').value !== name) at('key').value = ''; /* it holds no line breaks, and would name another key */
    askKey('GET', '/' + line.replaceAll('/', '%2F'));
  });
  return html('li', {}, button);
}

let lists = 0; /* asked for: an answer that comes after another one was is nobody's */
async function listKeys(prefix) {
  const number = ++lists;
  const response = await fetch(`/-/keys?limit=${LISTED_MAX + 1}&prefix=${encodeURIComponent(prefix)}`, {cache: 'no-store'});
  const text = await response.text();
  if (number !== lists) return;
  if (!response.ok) {
    at('found').replaceChildren();
    return say('listed', `${response.status}: ${text.trim()}`);
  }
  const lines = text.split('\n').slice(0, -1), more = lines.length > LISTED_MAX;
  at('found').replaceChildren(...lines.slice(0, LISTED_MAX).sort().map(listItem));
  say('listed', more ? `${LISTED_MAX} of them are shown; there are more.` : lines.length ? plural(lines.length, 'key') : 'No key begins so.');
}

at('list').addEventListener('submit', async event => {
  event.preventDefault();
  say('listed', '…');
  try {
    await listKeys(at('prefix').value);
  } catch {
    say('listed', 'There is no answer.');
  }
});

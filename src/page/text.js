'use strict';
/* Figures as text, and elements. Whatever comes from elsewhere becomes text, never markup. */

const at = id => document.getElementById(id);

const units = {
  count: n => Math.round(n).toLocaleString('en'),
  bytes: n => {
    const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let i = 0;
    for (; n >= 1024 && i < 4; i++) n /= 1024;
    return `${i ? n.toFixed(n < 10 ? 1 : 0) : n} ${names[i]}`;
  },
  time: s => {
    const [n, unit] = s < 0.001 ? [s * 1e6, 'µs'] : s < 1 ? [s * 1e3, 'ms'] : [s, 's'];
    return `${Number(n.toPrecision(n < 10 ? 2 : 3))} ${unit}`;
  },
  span: s => {
    s = Math.floor(s);
    const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
    return d ? `${d} d ${h % 24} h` : h ? `${h} h ${m % 60} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
  },
};

const plural = (n, one, many = one + 's') => `${units.count(n)} ${n === 1 ? one : many}`;

/* An element of these attributes; children are elements or text. */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

/* Sets a text only when it differs, so that nothing is read aloud twice. */
function say(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

'use strict';

const assert = require('assert/strict');
const fs = require('fs');
const {after, curl, openPage, startCluster, startFrontend, startNode, stopAll, until} = require('./fog.js');

const RED_MS = 2000; /* after which a node that was killed has to be red */
const RENEW_MS = 1000; /* how often the page asks */
const CONTRAST_MIN = 4.5; /* WCAG 2.1, AA */

const tests = [];
const test = (name, run) => tests.push({name, run});

/* What most tests share: two partitions of two nodes, a front-end, and a cluster of one. */
let node, clusters, frontend;

async function begin() {
  clusters = [await startCluster(2, '--partition', '0/2'), await startCluster(2, '--partition', '1/2')];
  frontend = await startFrontend(clusters);
  node = await startNode();
}

/* The page must be quiet, and ask its own server only. */
function checkQuiet(page) {
  assert.deepEqual(page.troubles, [], 'errors and warnings in the console');
  const own = new URL(page.url()).origin;
  assert.deepEqual(page.asked.filter(url => !url.startsWith(own + '/') && !url.startsWith('data:')), [], 'requests to others');
}

async function withPage(server, options, use) {
  const page = await openPage(server.url, options);
  try {
    await page.waitForSelector('#picture svg');
    await use(page);
    checkQuiet(page);
  } finally {
    await page.context().close();
  }
}

const outcomeIs = (page, text) => page.waitForFunction(wanted => document.getElementById('outcome').textContent.includes(wanted), text);

async function put(page, key, value) {
  await page.getByLabel('Key', {exact: true}).fill(key);
  await page.getByLabel('Value to set').fill(value);
  await page.getByRole('button', {name: 'Set'}).click();
  await outcomeIs(page, '200 OK: set');
}

/* Keys */

test('a click sets a key, and curl reads it', async () => {
  for (const server of [node, frontend])
    await withPage(server, {}, async page => {
      await put(page, 'set by/a click ü?', 'hello,\nfög');
      assert.equal(curl(server.url + 'set%20by/a%20click%20%C3%BC%3F'), 'hello,\nfög');
    });
});

test('what curl sets is shown with its version, type, size and time to live', async () => {
  curl('-d', '{"on":true}', '-H', 'Content-Type: application/json', '-H', 'Fog-TTL: 600', node.url + 'lamp');
  await withPage(node, {}, async page => {
    await page.getByLabel('Key', {exact: true}).fill('lamp');
    await page.getByRole('button', {name: 'Get'}).click();
    await outcomeIs(page, '200 OK');
    assert.equal(await page.locator('#body').textContent(), '{"on":true}');
    const fields = await page.locator('#answer-fields').textContent();
    for (const part of ['application/json', '11 bytes', 'GET /lamp', /Version\d{16}/, /Seconds left\d{3}/]) assert.match(fields, new RegExp(part));
  });
});

test('a key is set with its type and time to live, and deleted', async () => {
  await withPage(node, {}, async page => {
    await page.getByLabel('Content type').fill('text/css');
    await page.getByLabel('Lives for, in seconds').fill('500');
    await put(page, 'typed', 'x');
    const said = curl('-i', node.url + 'typed');
    assert.match(said, /^content-type: text\/css\r$/im);
    assert.match(said, /^fog-ttl: (500|499)\r$/im);
    await page.getByRole('button', {name: 'Delete'}).click();
    await outcomeIs(page, '200 OK: deleted');
    await page.getByRole('button', {name: 'Get'}).click();
    await outcomeIs(page, '204 No Content: there is no such key');
    assert.match(curl('-i', node.url + 'typed'), /^HTTP\/1.1 204 /);
  });
});

test('values, keys and types are text, whatever stands in them', async () => {
  const markup = '<img src=x onerror=alert(1)><script>alert(2)</script>';
  await withPage(node, {}, async page => {
    await put(page, markup, markup);
    await page.getByRole('button', {name: 'Get'}).click();
    await outcomeIs(page, '200 OK: here it is');
    assert.equal(await page.locator('#body').textContent(), markup);
    await page.getByLabel('Prefix empty').fill('<img');
    await page.getByRole('button', {name: 'List'}).click();
    await page.getByRole('button', {name: markup}).waitFor();
    assert.equal(await page.locator('#body img, #found img, main script').count(), 0, 'elements made of values');
  });
});

test('a value that is no text is shown in hexadecimal, and of a long one the beginning', async () => {
  await node.fetch('binary', {method: 'PUT', body: Buffer.from([0xff, 0xfe, 0, 65])});
  await node.fetch('long', {method: 'PUT', body: 'ü'.repeat(5000000)});
  await withPage(node, {}, async page => {
    await page.getByLabel('Key', {exact: true}).fill('binary');
    await page.getByLabel('Key', {exact: true}).press('Enter');
    await outcomeIs(page, '200 OK');
    assert.match(await page.locator('#body').textContent(), /^ff fe 00 41 +\.\.\.A$/);
    await page.getByLabel('Key', {exact: true}).fill('long');
    await page.getByRole('button', {name: 'Get'}).click();
    await page.waitForFunction(() => document.getElementById('answer-fields').textContent.includes('10,000,000 bytes'));
    const text = await page.locator('#body').textContent();
    assert.match(text, /^ü+\n… the first 64 KiB of it$/);
  });
});

test('keys are listed by prefix, and a click gets one', async () => {
  for (let i = 0; i < 250; i++) await node.fetch(`many/${i}`, {method: 'PUT', body: `value ${i}`});
  await node.fetch('none%FFutf8', {method: 'PUT', body: 'bytes'});
  await withPage(node, {}, async page => {
    await page.getByLabel('Prefix empty').fill('many/24');
    await page.getByLabel('Prefix empty').press('Enter');
    await page.getByText('11 keys').waitFor();
    await page.getByRole('button', {name: 'many/249'}).click();
    await outcomeIs(page, '200 OK');
    assert.equal(await page.locator('#body').textContent(), 'value 249');
    assert.equal(await page.getByLabel('Key', {exact: true}).inputValue(), 'many/249');
    await page.getByLabel('Prefix empty').fill('many/');
    await page.getByRole('button', {name: 'List'}).click();
    await page.getByText('200 of them are shown').waitFor();
    assert.equal(await page.locator('#found li').count(), 200);
    await page.getByLabel('Prefix empty').fill('none');
    await page.getByRole('button', {name: 'List'}).click();
    await page.getByRole('button', {name: 'none%FFutf8'}).click();
    await page.waitForFunction(() => document.getElementById('body').textContent === 'bytes');
  });
});

test('a front-end lists the keys of all partitions', async () => {
  const keys = Array.from({length: 12}, (_, i) => `of all/${i}`);
  for (const key of keys) await frontend.fetch(encodeURIComponent(key), {method: 'PUT', body: key});
  await withPage(frontend, {}, async page => {
    await page.getByLabel('Prefix empty').fill('of all/');
    await until(async () => {
      await page.getByRole('button', {name: 'List'}).click();
      return page.locator('#found li').count().then(count => count === keys.length);
    }, 'all keys are listed');
    assert.deepEqual((await page.locator('#found li').allTextContents()).sort(), [...keys].sort());
    await page.getByRole('button', {name: 'of all/11'}).click();
    await page.waitForFunction(() => document.getElementById('body').textContent === 'of all/11');
  });
});

test('keys that a browser cannot ask for are refused with a sentence', async () => {
  await withPage(node, {}, async page => {
    for (const [key, sentence] of [['..', 'A browser cannot ask for this key'], ['\ud800', 'This key is not text']]) {
      await page.getByLabel('Key', {exact: true}).evaluate((input, text) => { input.value = text; }, key);
      await page.getByRole('button', {name: 'Get'}).click();
      await outcomeIs(page, sentence);
    }
  });
});

test('keys that would be another path, or another host, are listed, and a click gets each', async () => {
  const own = await startNode();
  for (const key of ['/localhost/x', 'a/../b', 'a/./c', '/', 'b/..', './d', 'e//'])
    curl('--path-as-is', '-d', `value of ${key}`, `${own.url}${key}`);
  await withPage(own, {}, async page => {
    await page.getByRole('button', {name: 'List'}).click();
    await page.getByText('7 keys').waitFor();
    for (const key of await page.locator('#found button').allTextContents()) {
      await page.getByRole('button', {name: key, exact: true}).click();
      await page.waitForFunction(text => document.getElementById('body').textContent === text, `value of ${key}`);
    }
  });
});

test('a key that the field cannot hold is not another one there', async () => {
  const own = await startNode();
  for (const key of ['line%0Abreak', 'return%0Dbreak', 'linebreak', '%FF'])
    curl('-d', `value of ${key}`, own.url + key);
  await withPage(own, {}, async page => {
    await page.getByRole('button', {name: 'List'}).click();
    await page.getByText('4 keys').waitFor();
    const held = {};
    for (const button of await page.locator('#found button').all()) {
      const [response] = await Promise.all([page.waitForResponse(answer => !answer.url().includes('/-/')), button.click()]);
      held[new URL(response.url()).pathname.slice(1)] = await page.getByLabel('Key', {exact: true}).inputValue();
    }
    assert.deepEqual(held, {'line%0Abreak': '', 'return%0Dbreak': '', linebreak: 'linebreak', '%FF': ''});
  });
});

test('an answer that comes late does not stand for the one that was asked for after it', async () => {
  await withPage(node, {}, async page => {
    await put(page, 'slow', 'too late');
    await put(page, 'quick', 'in time');
    let letGo;
    const held = new Promise(done => { letGo = done; });
    await page.route('**/slow', route => held.then(() => route.continue()));
    await page.getByLabel('Key', {exact: true}).fill('slow');
    await page.getByRole('button', {name: 'Get'}).click();
    await page.getByLabel('Key', {exact: true}).fill('quick');
    await page.getByRole('button', {name: 'Get'}).click();
    await page.waitForFunction(() => document.getElementById('body').textContent === 'in time');
    const late = page.waitForResponse(/slow$/);
    letGo();
    await (await late).finished();
    await after(100);
    assert.equal(await page.locator('#body').textContent(), 'in time');
    assert.match(await page.locator('#answer-fields').textContent(), /^RequestGET \/quick/);
    assert.equal(await page.locator('#answer').getAttribute('aria-busy'), null);
  });
});

test('a list that comes late does not stand for the one that was asked for after it', async () => {
  await node.fetch('early/1', {method: 'PUT', body: 'x'});
  await withPage(node, {}, async page => {
    let letGo;
    const held = new Promise(done => { letGo = done; });
    await page.route('**/-/keys?*prefix=late', route => held.then(() => route.continue()));
    await page.getByLabel('Prefix empty').fill('late');
    await page.getByRole('button', {name: 'List'}).click();
    await page.getByLabel('Prefix empty').fill('early');
    await page.getByRole('button', {name: 'List'}).click();
    await page.getByText('1 key', {exact: true}).waitFor();
    const late = page.waitForResponse(/prefix=late/);
    letGo();
    await (await late).finished();
    await after(100);
    assert.equal(await page.locator('#listed').textContent(), '1 key');
    assert.equal(await page.locator('#found li').count(), 1);
  });
});

test('a type that no request can have is refused with a sentence', async () => {
  await withPage(node, {}, async page => {
    await page.getByLabel('Key', {exact: true}).fill('typed');
    await page.getByLabel('Content type').fill('текст');
    await page.getByRole('button', {name: 'Set'}).click();
    await outcomeIs(page, 'This content type cannot be sent.');
  });
});

/* Without a mouse, without eyes */

test('all can be done with the keyboard alone', async () => {
  await withPage(node, {}, async page => {
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());
    const tabTo = async wanted => {
      for (let i = 0; i < 40 && await focused() !== wanted; i++) await page.keyboard.press('Tab');
      assert.equal(await focused(), wanted, 'what has the focus');
    };
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to the keys');
    await page.keyboard.press('Enter');
    await page.keyboard.type('by keyboard');
    assert.equal(await page.getByLabel('Key', {exact: true}).inputValue(), 'by keyboard', 'the link leads to the key');
    await tabTo('value');
    await page.keyboard.type('typed');
    await tabTo('Set');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, 'solid', 'the focus is seen');
    await page.keyboard.press('Enter');
    await outcomeIs(page, '200 OK: set');
    assert.equal(await focused(), 'Set', 'the focus stays');
    assert.equal(curl(node.url + 'by%20keyboard'), 'typed');
    await tabTo('prefix');
    await page.keyboard.type('by key');
    await page.keyboard.press('Enter');
    await page.getByText('1 key', {exact: true}).waitFor();
    await tabTo('by keyboard');
    await page.keyboard.press('Space');
    await outcomeIs(page, '200 OK: here it is');
    await page.keyboard.press('Shift+Tab');
  });
});

test('plots are read with the arrow keys', async () => {
  await until(async () => (await (await node.fetch('-/history')).json()).next > 4, 'there are some samples');
  await withPage(node, {}, async page => {
    await page.locator('#requests-plot').focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    await page.waitForFunction(() => /as of \d+ s ago/.test(document.getElementById('reading').textContent));
    assert.equal(await page.locator('.cursor').count(), 5, 'a cursor in each plot');
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.cursor').count(), 0);
  });
});

test('everything has a name, and a place', async () => {
  for (const server of [node, frontend])
    await withPage(server, {}, async page => {
      const problems = await page.evaluate(() => {
        const found = [], named = e => e.getAttribute('aria-label') || e.getAttribute('aria-labelledby');
        for (const e of document.querySelectorAll('input, textarea')) if (!e.labels.length) found.push(`no label: ${e.id}`);
        for (const e of document.querySelectorAll('button, a')) if (!e.textContent.trim()) found.push(`no text: ${e.outerHTML}`);
        for (const e of document.querySelectorAll('[role=img], [role=group], [role=region], section, nav')) if (!named(e)) found.push(`no name: ${e.outerHTML.slice(0, 80)}`);
        for (const e of document.querySelectorAll('[aria-labelledby], [aria-describedby]'))
          for (const name of ['aria-labelledby', 'aria-describedby'])
            for (const id of (e.getAttribute(name) ?? '').split(' ').filter(Boolean)) if (!document.getElementById(id)) found.push(`no ${id}`);
        for (const e of document.querySelectorAll('svg:not([role=img] svg):not([role])')) if (!e.getAttribute('aria-hidden')) found.push('a picture without a name');
        const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
        if (new Set(ids).size !== ids.length) found.push('an id is there twice');
        for (const tag of ['header', 'main', 'footer', 'h1', 'nav']) if (document.querySelectorAll(tag).length !== 1) found.push(`not one ${tag}`);
        if (!document.documentElement.lang || !document.title) found.push('no language or title');
        let level = 1;
        for (const h of document.querySelectorAll('h1, h2, h3')) {
          if (Number(h.tagName[1]) > level + 1) found.push(`a level is left out before ${h.textContent}`);
          level = Number(h.tagName[1]);
        }
        return found;
      });
      assert.deepEqual(problems, []);
      assert.match(await page.locator('#picture svg').getAttribute('aria-label'), /: \d of \d ready\./);
    });
});

/* Of all text that is seen, against the nearest background; [ratio, text] of the worst. */
const worstContrast = page => page.evaluate(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = color => rgb(color).slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const own = e instanceof SVGElement ? [...e.children].find(c => c.tagName === 'rect') : null;
      const color = own && !own.matches('.bar, .done') ? getComputedStyle(own).fill : getComputedStyle(e).backgroundColor;
      if (rgb(color)[3] > 0) return color;
    }
    return 'white';
  };
  let worst = [21, ''];
  for (const e of document.querySelectorAll('body *')) {
    const seen = e.getClientRects().length && !e.matches('.unseen, .unseen *, .skip') && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!seen) continue;
    const style = getComputedStyle(e), front = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(front), light(behind(e))].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) worst = [ratio, `${e.tagName}.${e.getAttribute('class')} ${e.textContent.slice(0, 40)}`];
  }
  return worst;
});

test('text stands out, in the light and in the dark', async () => {
  const backs = [];
  for (const colorScheme of ['light', 'dark'])
    for (const server of [node, frontend])
      await withPage(server, {colorScheme}, async page => {
        await page.getByLabel('Key', {exact: true}).fill('no such key');
        await page.getByRole('button', {name: 'Get'}).click();
        await outcomeIs(page, '204');
        const [ratio, text] = await worstContrast(page);
        assert.ok(ratio >= CONTRAST_MIN, `${colorScheme}: the contrast of ${text} is ${ratio.toFixed(2)}`);
        backs.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      });
  assert.notEqual(backs[0], backs[2], 'the background in the light and in the dark');
});

test('narrow and wide, nothing is cut off', async () => {
  for (const [width, columns] of [[360, 1], [768, 2], [1600, 3]])
    for (const server of [node, frontend])
      await withPage(server, {viewport: {width, height: 800}}, async page => {
        await page.waitForSelector('.line');
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `at ${width} the page is ${wide} wide`);
        const cut = await page.evaluate(() => [...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
          const bounds = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('text')].filter(t => t.getBoundingClientRect().right > bounds.right + 1 || t.getBoundingClientRect().left < bounds.left - 1)
            .map(t => t.textContent);
        }));
        assert.deepEqual(cut, [], `text that is cut off at ${width}`);
        const tops = await page.evaluate(() => [...document.querySelectorAll('figure')].map(f => Math.round(f.getBoundingClientRect().top)));
        assert.equal(tops.filter(top => top === tops[0]).length, columns, `plots side by side at ${width}`);
      });
});

test('without JavaScript it says where the figures are', async () => {
  const page = await openPage(node.url, {javaScriptEnabled: false});
  const text = await page.locator('noscript').innerText();
  assert.match(text, /needs JavaScript.*\/-\/status/);
  assert.equal(await page.locator('main').isVisible(), false);
  await page.context().close();
});

/* The cluster */

/* Opens the page, kills a member that it shows, and gives the ms until that is red. */
async function msUntilRed(page, victim) {
  const tile = page.locator('.tile', {hasText: victim.address});
  await tile.locator('.said', {hasText: 'ready'}).waitFor();
  const red = await page.evaluate(() => {
    const probe = document.body.appendChild(document.createElement('i'));
    probe.style.color = 'var(--down)';
    const color = getComputedStyle(probe).color;
    probe.remove();
    return color;
  });
  const began = Date.now();
  victim.signal('SIGKILL');
  await page.waitForFunction(([address, color]) => [...document.querySelectorAll('.tile')].some(t => t.textContent.includes(address) &&
    t.textContent.includes('down') && getComputedStyle(t.querySelector('rect')).stroke === color), [victim.address, red], {polling: 20});
  return Date.now() - began;
}

test('a node that is killed turns red within two seconds, on a node and on a front-end', async () => {
  const nodes = await startCluster(3);
  const front = await startFrontend([nodes]);
  await withPage(nodes[0], {}, async page => {
    const ms = await msUntilRed(page, nodes[1]);
    console.log(`# red after ${ms} ms on a node`);
    assert.ok(ms <= RED_MS, `it took ${ms} ms on a node`);
    assert.match(await page.locator('#news').textContent(), new RegExp(`${nodes[1].address} is down`));
    assert.equal(await page.locator('#summary').textContent(), '2 of 3 members ready');
  });
  await withPage(front, {}, async page => {
    const ms = await msUntilRed(page, nodes[2]);
    console.log(`# red after ${ms} ms on a front-end`);
    assert.ok(ms <= RED_MS, `it took ${ms} ms on a front-end`);
  });
});

test('partitions and their members are shown by a front-end', async () => {
  await withPage(frontend, {}, async page => {
    assert.deepEqual(await page.locator('.box .heading').allTextContents(), ['Partition 0', 'Partition 1']);
    const names = (await page.locator('.tile .name').allTextContents()).sort();
    assert.deepEqual(names, clusters.flat().map(n => n.address).sort());
    assert.equal(await page.locator('#summary').textContent(), '2 partitions, 4 of 4 members ready');
    await page.getByText('The same as a table').click();
    assert.equal(await page.locator('#members tr').count(), 6);
  });
});

/* The page with a status that is made up from a server's own. */
async function withStatus(change, use, of = node) {
  const status = await of.status();
  change(status);
  const page = await openPage('about:blank');
  await page.route('**/-/status', route => route.fulfill({json: status}));
  await page.goto(of.url);
  await page.waitForSelector('#picture svg');
  await use(page);
  checkQuiet(page);
  await page.context().close();
}

test('a front-end shows which way keys move', async () => {
  for (const [list, title] of [['next_partitions', 'Next'], ['previous_partitions', 'Previous']])
    await withStatus(status => {
      status[list] = status.partitions.slice(0, 1);
    }, async page => {
      assert.deepEqual(await page.locator('.box .heading').allTextContents(), ['Partition 0', 'Partition 1', `${title} 0`]);
    }, frontend);
});

test('gathering is shown with its progress, and a clock that is off', async () => {
  await withStatus(({cluster}) => {
    cluster.members['10.0.0.2:8000'] = 'joining';
    cluster.members_gathered_permille['10.0.0.2:8000'] = 375;
    cluster.clock_skew_seconds['10.0.0.2:8000'] = -3600.5;
    cluster.members['10.0.0.3:8000'] = 'leaving';
    cluster.members_gathered_permille['10.0.0.3:8000'] = 1000;
    cluster.clock_skew_seconds['10.0.0.3:8000'] = 0.2;
    cluster.member_counts = {joining: 1, ready: 1, leaving: 1, down: 0};
  }, async page => {
    const tile = page.locator('.tile', {hasText: '10.0.0.2:8000'});
    assert.match(await tile.locator('title').textContent(), /gathering 37 % · clock −1 h 0 min/);
    const [bar, done] = await Promise.all(['.bar', '.done'].map(part => tile.locator(part).getAttribute('width')));
    assert.equal(Math.round(done / bar * 1000), 375);
    assert.match(await page.locator('.tile', {hasText: '10.0.0.3:8000'}).getAttribute('class'), /busy/);
    assert.match(await page.locator('#picture svg').getAttribute('aria-label'), /1 of 3 ready; 10\.0\.0\.2:8000 gathering 37 %/);
  });
});

test('many members are small, and fit', async () => {
  await withStatus(({cluster}) => {
    for (let i = 0; i < 100; i++) cluster.members[`10.0.0.${i}:8000`] = i % 9 ? 'ready' : 'down';
    cluster.member_counts = {joining: 1, ready: 489, leaving: 0, down: 12};
  }, async page => {
    assert.equal(await page.locator('.box .count').textContent(), '489 of 502 ready, 101 shown');
    assert.equal(await page.locator('#summary').textContent(), '489 of 502 members ready');
    assert.equal(await page.locator('.tile').count(), 101);
    assert.equal(await page.locator('.tile.down').count(), 12);
    assert.ok((await page.locator('#picture').boundingBox()).height < 300, 'the picture is not too high');
  });
});

/* Being there or not */

test('a page that is just opened shows the last minutes', async () => {
  await until(async () => (await (await node.fetch('-/history')).json()).next > 5, 'there are some samples', 20000);
  await withPage(node, {}, async page => {
    const path = await page.locator('#requests-plot .line').getAttribute('d');
    assert.ok(path.split('L').length >= 5, `few points: ${path}`);
    for (const id of ['requests', 'latency', 'memory', 'keys'])
      assert.match(await page.locator(`#${id}-plot svg`).getAttribute('aria-label'), /: .*now [\d.,]+/, id);
  });
});

test('the figures renew themselves, and rest while nobody looks', async () => {
  await withPage(node, {}, async page => {
    const asked = () => page.asked.filter(url => url.endsWith('/-/status')).length;
    const first = await page.locator('#uptime').textContent();
    await page.waitForFunction(text => document.getElementById('uptime').textContent !== text, first);
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await after(RENEW_MS / 2);
    const before = asked();
    await after(2.5 * RENEW_MS);
    assert.equal(asked(), before, 'requests of a page that is hidden');
    await page.evaluate(() => {
      delete document.hidden;
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await until(() => asked() > before, 'it goes on', RENEW_MS / 2);
  });
});

test('a node that does not answer any more is told of, and so is its return', async () => {
  const own = await startNode();
  const page = await openPage(own.url);
  await page.waitForSelector('#picture svg');
  await page.route('**/-/*', route => route.abort());
  await page.getByText(`There is no answer from ${own.address}`).waitFor();
  assert.match(await page.locator('#lost').textContent(), /What stands here is of \d\d\/\d\d\/\d{4}, \d\d:\d\d:\d\d\.$/);
  assert.equal(await page.locator('#state').textContent(), 'no answer');
  await page.unroute('**/-/*');
  await page.waitForFunction(() => document.getElementById('state').textContent === 'ready');
  assert.equal(await page.locator('#lost').textContent(), '');
  await page.context().close();
});

test('where nothing stands yet, nothing is said to', async () => {
  const page = await openPage(node.url);
  await page.route('**/-/*', route => route.abort());
  await page.reload();
  await page.getByText(`There is no answer from ${node.address}`).waitFor();
  assert.doesNotMatch(await page.locator('#lost').textContent(), /stands here/);
  await page.context().close();
});

test('an answer that makes no sense is told of, and the page goes on asking', async () => {
  await withPage(node, {}, async page => {
    await page.route('**/-/status', route => route.fulfill({json: {role: 'other', started: 'then'}}));
    await page.getByText(`The answer of ${node.address} makes no sense to this page`).waitFor();
    await page.unroute('**/-/status');
    await page.waitForFunction(() => document.getElementById('state').textContent === 'ready');
    assert.equal(await page.locator('#lost').textContent(), '');
  });
});

test('a node that was started anew meanwhile is shown from its beginning', async () => {
  const own = await startNode();
  const page = await openPage(own.url), address = own.address;
  await page.waitForSelector('#picture svg');
  await page.waitForFunction(() => past.next > 0);
  await page.route('**/-/*', route => route.abort());
  await page.getByText(`There is no answer from ${address}`).waitFor();
  own.signal('SIGKILL');
  const again = await startNode('--listen', address);
  const samples = async () => (await (await again.fetch('-/history')).json()).samples;
  const next = await page.evaluate(() => past.next);
  await until(async () => (await samples()).length > next + 1, 'it has more to tell than the page knows', 20000);
  const [[first]] = await samples();
  await page.unroute('**/-/*');
  await page.waitForFunction(() => document.getElementById('state').textContent === 'ready');
  await after(2 * RENEW_MS);
  assert.equal(await page.evaluate(() => past.samples[0][0]), first);
  await page.context().close();
});

test('who looks away and back while it asks loses none of the last minutes', async () => {
  await until(async () => (await (await node.fetch('-/history')).json()).next > 5, 'there are some samples', 20000);
  await withPage(node, {}, async page => {
    const points = async () => (await page.locator('#memory-plot .line').getAttribute('d')).split(/[ML]/).length;
    const before = await points();
    await page.route('**/-/*', route => after(RENEW_MS / 2).then(() => route.continue()));
    for (let i = 0; i < 10; i++) {
      await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
      await after(RENEW_MS / 4);
    }
    await page.unrouteAll({behavior: 'wait'});
    await after(RENEW_MS);
    assert.ok(await points() >= before, `${await points()} points, and ${before} before`);
  });
});

test('a page that waits, as docs/clients.md has it, hears of each change at once, and its own writes are not held up', async () => {
  const [, html] = fs.readFileSync('docs/clients.md', 'utf8').match(/^```html\n(.*?)^```$/ms);
  curl('--data-binary', html.replace('wait=30', 'wait=4'), '-H', 'Content-Type: text/html; charset=utf-8', node.url + 'lamp.html');
  curl('-X', 'DELETE', node.url + 'lamp/8');
  const page = await openPage(node.url + 'lamp.html');
  const shows = text => page.locator('b').getByText(text, {exact: true}).waitFor({timeout: 2000});
  await shows('missing');
  curl('-d', 'dim', node.url + 'lamp/8');
  await shows('dim');
  await page.evaluate(async () => (await fetch('/lamp/8')).text()); /* so that the browser's cache has it */
  await page.waitForResponse(answer => answer.status() === 304); /* and it waits with the tag of that */
  await page.getByRole('button').click();
  await shows('on');
  await page.getByRole('button').click();
  await shows('off');
  curl('-X', 'DELETE', node.url + 'lamp/8');
  await shows('missing');
  checkQuiet(page);
  await page.context().close();
});

test('a page from elsewhere can neither read, PUT nor DELETE, but can POST', async () => {
  curl('-d', 'secret', node.url + 'foreign');
  const other = await startNode();
  curl('-d', '<p>', '-H', 'Content-Type: text/html', other.url + 'page');
  const page = await openPage(other.url + 'page');
  const tries = options => page.evaluate(([url, given]) => fetch(url, given).then(() => 'done', () => 'refused'), [node.url + 'foreign', options]);
  assert.equal(await tries({}), 'refused');
  assert.equal(await tries({method: 'PUT', body: 'x'}), 'refused');
  assert.equal(await tries({method: 'DELETE'}), 'refused');
  assert.equal(curl(node.url + 'foreign'), 'secret');
  assert.equal(await tries({method: 'POST', mode: 'no-cors', body: 'theirs'}), 'done');
  assert.equal(curl(node.url + 'foreign'), 'theirs');
  await page.context().close();
});

async function main(word = '') {
  let passed = 0, failed = 0;
  try {
    await begin();
    for (const {name, run} of tests.filter(one => one.name.includes(word)))
      try {
        const began = Date.now();
        await run();
        passed++;
        console.log(`ok ${name} (${Date.now() - began} ms)`);
      } catch (error) {
        failed++;
        console.log(`not ok ${name}: ${error.stack}`);
      }
  } finally {
    await stopAll();
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed ? 1 : 0;
}

main(process.argv[2]).catch(error => {
  console.log(`not ok browser: ${error.stack}`);
  process.exitCode = 1;
});
